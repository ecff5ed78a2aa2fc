//! What tasks that own a session must learn at once.

use tokio::sync::watch;

use crate::error::Error;

/// Each is given once, but for refusals. A task that begins later learns of it, too.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    closing: watch::Sender<bool>,
    abandoned: watch::Sender<bool>,
    /// Why the pool was refused last.
    refused: watch::Sender<Option<Error>>,
}

impl Signals {
    /// `false` if it was set before.
    pub(super) fn set_closing(&self) -> bool {
        !self.closing.send_replace(true)
    }

    pub(super) fn set_abandoned(&self) {
        self.abandoned.send_replace(true);
    }

    pub(super) fn set_refused(&self, error: &Error) {
        self.refused.send_replace(Some(error.clone()));
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Resolves when the pool closes.
    pub(crate) async fn closing(&self) {
        drop(self.closing.subscribe().wait_for(|is_set| *is_set).await);
    }

    /// Resolves when the guards that are left lose their locks.
    pub(crate) async fn abandoned(&self) {
        drop(self.abandoned.subscribe().wait_for(|is_set| *is_set).await);
    }

    /// Learns of every refusal from now on.
    pub(crate) fn refusals(&self) -> Refusals {
        Refusals(self.refused.subscribe())
    }
}

#[derive(Debug)]
pub(crate) struct Refusals(watch::Receiver<Option<Error>>);

impl Refusals {
    /// Resolves when the pool is refused. Cancel safe.
    pub(crate) async fn next(&mut self) -> Error {
        match self.0.changed().await {
            Ok(()) => self
                .0
                .borrow_and_update()
                .clone()
                .unwrap_or(Error::PoolClosed),
            // The pool is gone.
            Err(_) => std::future::pending().await,
        }
    }
}
