//! Why the sessions that are being opened are not there yet, while their server may still come up.

use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// Noted by those who open sessions, and asked for when a request gives up before there is one.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<Error>>);

impl Trouble {
    /// A connection failed, and is tried again. The log is told once for each trouble.
    pub(super) fn note(&self, error: &Error) {
        let before = self.set(Some(error.clone()));
        if before.is_none() {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, "dlock: the server cannot be reached; trying again");
        }
    }

    /// An attempt to open a session, which ends with what is returned.
    pub(super) fn begin(&self) -> Attempt<'_> {
        Attempt(self)
    }

    pub(super) fn get(&self) -> Option<Error> {
        self.lock().clone()
    }

    fn set(&self, error: Option<Error>) -> Option<Error> {
        std::mem::replace(&mut *self.lock(), error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With its end, however it comes, the trouble is over.
pub(super) struct Attempt<'a>(&'a Trouble);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
