//! The last connection error while sessions are being opened, when their server may still come up.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;

/// How long a server that refuses connections may take to come (back) up.
pub(crate) const STARTUP: Duration = Duration::from_secs(5);

/// One for all sessions of a pool.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Attempts to open a session that go on.
    attempts: usize,
    error: Option<Error>,
}

impl Trouble {
    /// A connection failed, and is tried again. The first error is logged.
    pub(crate) fn note(&self, error: &Error) {
        let before = self.lock().error.replace(error.clone());
        if before.is_none() {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, "dlock: the server cannot be reached; trying again");
        }
    }

    /// A connection came up.
    pub(crate) fn clear(&self) {
        self.lock().error = None;
    }

    pub(crate) fn get(&self) -> Option<Error> {
        self.lock().error.clone()
    }

    /// An attempt to open a session. It ends when the returned value is dropped.
    pub(crate) fn begin(&self) -> Attempt<'_> {
        self.lock().attempts += 1;
        Attempt(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears the error with the last attempt.
pub(crate) struct Attempt<'a>(&'a Trouble);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.attempts -= 1;
        if state.attempts == 0 {
            state.error = None;
        }
    }
}
