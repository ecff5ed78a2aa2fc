//! The thread that owns a connection, and the way to it.

use std::sync::mpsc;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::driver::Driver;
use crate::backend::session_error::SessionError;

type Call = Box<dyn FnOnce(&mut dyn Driver) + Send>;

/// A thread with a connection. It ends, and logs off, when this is dropped and what it is doing is
/// done.
pub(super) struct DriverThread {
    calls: mpsc::Sender<Call>,
    /// The sender is gone when the thread has logged off.
    has_ended: oneshot::Receiver<()>,
}

impl DriverThread {
    /// Connects, on the new thread, which takes up its room until it has ended, whatever its driver
    /// is stuck in.
    pub(super) async fn start<D: Driver>(
        room: OwnedSemaphorePermit,
        open: impl FnOnce() -> Result<D, SessionError> + Send + 'static,
    ) -> Result<Self, SessionError> {
        let (calls, inbox) = mpsc::channel::<Call>();
        let (opened, has_opened) = oneshot::channel();
        let (end, has_ended) = oneshot::channel::<()>();
        let serve = move || {
            let _until_it_ends = room;
            let (mut driver, opened) = match open() {
                Ok(driver) => (driver, opened.send(Ok(()))),
                Err(error) => return drop(opened.send(Err(error))),
            };
            // Whoever wanted it may be gone.
            if opened.is_ok() {
                inbox.into_iter().for_each(|call| call(&mut driver));
            }
            drop(driver);
            drop(end);
        };
        let named = thread::Builder::new().name("dlock-oracle".to_owned());
        let spawned = named.spawn(serve);
        spawned
            .map_err(|error| SessionError::ended(format!("no thread for the session: {error}")))?;
        has_opened
            .await
            .unwrap_or_else(|_panicked| Err(panicked()))?;
        Ok(Self { calls, has_ended })
    }

    /// Has this done on the thread. Dropping the future drops the answer only.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Driver) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, SessionError> {
        let (reply, answer) = oneshot::channel();
        // A thread that is gone drops the call, and the reply with it.
        drop(
            self.calls
                .send(Box::new(move |driver| drop(reply.send(call(driver))))),
        );
        answer.await.unwrap_or_else(|_panicked| Err(panicked()))
    }

    /// Until it has logged off.
    pub(super) async fn end(self) {
        drop(self.calls);
        drop(self.has_ended.await);
    }
}

fn panicked() -> SessionError {
    SessionError::ended("the driver has panicked")
}
