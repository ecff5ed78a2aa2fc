//! Connections for pinned locks, on which the holder of the lock works.

use std::time::Instant;

use async_trait::async_trait;
use sea_orm::DatabaseConnection;

use super::session::Session;
use super::session_error::SessionError;

/// A server session for one lock, on which the lock's holder works as well: one connection, which
/// goes back and forth between the holder and the pool.
#[async_trait]
pub(crate) trait PinnedSession: Send {
    /// The holder's connection.
    fn connection(&self) -> DatabaseConnection;

    /// The server's number for the session.
    fn number(&self) -> i64;

    /// The session, unless its holder is at work on it. It stays with the pool until it is
    /// [lent](Self::lend).
    fn take(&mut self) -> Result<Option<&mut dyn Session>, SessionError>;

    /// The session, as soon as its holder has left it. Cancel safe.
    async fn taken(&mut self) -> Result<&mut dyn Session, SessionError>;

    /// When the connection set out on its way back to the pool, unless it was taken out again.
    ///
    /// On its way it is checked by a round trip to the server, which has no limit of its own. While
    /// [`take`](Self::take) returns `None` and this is a time, the connection is on its way.
    fn returning_since(&self) -> Option<Instant>;

    /// Lets the holder work on it.
    fn lend(&mut self);

    /// Ends the session at once if it is here, else when its holder leaves it. From now on nothing
    /// can begin on it.
    async fn close(self: Box<Self>);
}

/// What a pinned lock is made of.
#[allow(
    dead_code,
    reason = "a build can have only backends of one of the two kinds"
)]
pub(crate) enum PinnedBase {
    /// A session that holds the lock itself.
    Session(Box<dyn PinnedSession>),
    /// Where no server session holds locks: a connection for the holder's work, beside an ordinary
    /// lock.
    Sidecar {
        connection: DatabaseConnection,
        /// Only the holder has it.
        is_private: bool,
    },
}
