//! One session on one server. Its owner owns the socket.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::DbErr;

use super::batch::{Answer, Answers, Batch, Request};
use super::capabilities::Capabilities;
use super::session_error::SessionError;
use crate::key::PhysicalKey;
use crate::server_lock::{Holder, ServerLock};

/// One session on the server, owned by one task of the pool. After an error of any method it is
/// closed, and its locks with it.
#[async_trait]
pub(crate) trait Session: Send {
    /// The server's number for it, as [`Holder::session`] has it.
    fn number(&self) -> i64;

    /// What works on this session.
    fn capabilities(&self) -> Capabilities;

    /// One round trip, unless the server refuses something.
    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError>;

    /// Waits on the server for at most `slice`. Before it the session holds nothing; afterwards it
    /// holds nothing but this lock, if the answer is yes.
    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError>;

    /// Where the backend [can](super::Backend::upgrades) upgrade locks.
    fn upgrade_locks(&mut self) -> Option<&mut dyn UpgradeLocks> {
        None
    }

    /// Where sessions can be [pinned](super::PinnedBase::Session).
    fn observe_sessions(&mut self) -> Option<&mut dyn ObserveSessions> {
        None
    }

    /// A round trip that proves that the session lives, and its locks with it.
    async fn ping(&mut self) -> Result<(), SessionError>;

    /// Every lock that the server knows of. A server without a list is asked about those that are
    /// `known`. After [`SessionError::Statement`] the session is as good as before.
    async fn locks(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, SessionError>;

    /// A session that holds this lock, for a person to read. Errors are those of
    /// [`locks`](Self::locks).
    async fn holder_of(&mut self, _: &PhysicalKey) -> Result<Option<Holder>, SessionError> {
        Ok(None)
    }

    /// Resolves when the idle session turns out to be gone; never resolves where that cannot be
    /// seen. Cancel safe.
    async fn gone(&mut self) -> SessionError;

    /// Ends the session, and with it all that it holds.
    async fn close(self: Box<Self>);
}

/// A session without a server: any thread takes a lock and gives it back, at once.
#[async_trait]
pub(crate) trait InlineSession: fmt::Debug + Send + Sync {
    /// The number for it, as [`Holder::session`] has it.
    fn number(&self) -> i64;

    /// One try. A lock is refused while another waiter has the turn to wait for it.
    fn try_lock(&self, request: &Request) -> Result<Option<Box<dyn Hold>>, DbErr>;

    /// Tries again and again, for at most `slice`. Cancel safe.
    async fn wait(
        &self,
        request: &Request,
        slice: Duration,
    ) -> Result<Option<Box<dyn Hold>>, DbErr>;

    /// Ends its turn to [wait](Self::wait), which is not wanted any more.
    fn leave(&self);

    /// Every lock that is held.
    async fn locks(&self) -> Result<Vec<ServerLock>, DbErr>;
}

/// A lock that an inline session has taken; given back by its drop.
pub(crate) trait Hold: Send {
    /// `false` when another process has removed or replaced it.
    fn is_in_place(&self) -> Result<bool, DbErr>;
}

/// A session as a backend opens it.
#[allow(
    dead_code,
    reason = "a build can have only backends of one of the two kinds"
)]
pub(crate) enum Opened {
    Server(Box<dyn Session>),
    Inline(Arc<dyn InlineSession>),
}

impl<S: Session + 'static> From<S> for Opened {
    fn from(session: S) -> Self {
        Self::Server(Box::new(session))
    }
}

/// A session that can make a lock of its own stronger.
#[async_trait]
pub(crate) trait UpgradeLocks: Send {
    /// Converts a lock that it holds to this mode, and waits for that for at most `slice`.
    async fn upgrade(&mut self, request: &Request, slice: Duration)
    -> Result<Answer, SessionError>;
}

/// A session that can look at another session of its server.
#[async_trait]
pub(crate) trait ObserveSessions: Send {
    /// Whether the server session of this number holds this lock.
    async fn is_held_by(&mut self, lock: &Request, holder: i64) -> Result<bool, SessionError>;

    /// Ends the server session of this number, if it holds this lock. The lock is free a little
    /// later.
    async fn end_holder(&mut self, lock: &Request, holder: i64) -> Result<(), SessionError>;
}
