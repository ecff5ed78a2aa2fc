//! Whether a server locks at all: some answer yes and hold nothing.

use crate::backend::batch::{Answer, Batch, Request};
use crate::backend::session::{ObserveSessions, Session};
use crate::backend::session_error::SessionError;
use crate::error::Error;
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// Takes a lock, looks for it in the server's list, and gives it back: three round trips.
/// `no_locks` is the error where the lock was none.
pub(crate) async fn probe(
    session: &mut (impl Session + ObserveSessions),
    key: PhysicalKey,
    no_locks: Error,
) -> Result<(), SessionError> {
    let lock = Request {
        key,
        mode: Mode::Exclusive,
    };
    let tried = session.exchange(&Batch::of_one_try(&lock)).await;
    match tried?.tries.pop() {
        Some(Answer::Yes) => {}
        Some(Answer::Failed(error)) => return Err(SessionError::Statement(error)),
        _ => return Err(SessionError::Refused(no_locks)),
    }
    let number = session.number();
    let is_listed = session.is_held_by(&lock, number).await;
    let released = session.exchange(&Batch::of_releases(vec![lock])).await;
    let is_listed = is_listed?;
    match released?.releases.pop() {
        Some(Answer::Yes) if is_listed => Ok(()),
        _ => Err(SessionError::Refused(no_locks)),
    }
}
