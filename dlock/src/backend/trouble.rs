//! The last connection error while sessions are being opened, when their server may still come up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// One for all sessions of a pool.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Attempts to open a session that go on.
    attempts: usize,
    error: Option<Error>,
}

impl Trouble {
    /// A connection failed, and is tried again. The first error is logged.
    pub(super) fn note(&self, error: &Error) {
        let before = self.lock().error.replace(error.clone());
        if before.is_none() {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, "dlock: the server cannot be reached; trying again");
        }
    }

    /// A connection came up.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn clear(&self) {
        self.lock().error = None;
    }

    pub(super) fn get(&self) -> Option<Error> {
        self.lock().error.clone()
    }

    /// An attempt to open a session. It ends when the returned value is dropped.
    pub(super) fn begin(&self) -> Attempt<'_> {
        self.lock().attempts += 1;
        Attempt(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears the error with the last attempt.
pub(super) struct Attempt<'a>(&'a Trouble);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.attempts -= 1;
        if state.attempts == 0 {
            state.error = None;
        }
    }
}
