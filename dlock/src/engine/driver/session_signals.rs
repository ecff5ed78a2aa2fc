//! What others tell the task of one session.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct SessionSignals {
    pub(super) wake: Notify,
    /// Its wait is wanted no longer.
    stops_wait: AtomicBool,
    /// It ends.
    closes: AtomicBool,
}

impl SessionSignals {
    pub(super) fn stop_wait(&self) {
        self.stops_wait.store(true, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.closes.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_stop(&self) -> bool {
        self.stops_wait.swap(false, Ordering::Relaxed)
    }

    pub(super) fn closes(&self) -> bool {
        self.closes.load(Ordering::Relaxed)
    }

    /// Resolves when the session is to end. It takes wakers from those that wait for
    /// [`wake`](Self::wake).
    pub(super) async fn closing(&self) {
        while !self.closes() {
            self.wake.notified().await;
        }
    }
}
