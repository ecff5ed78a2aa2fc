//! A session that holds one lock.

use std::time::Instant;

use sea_orm::DatabaseConnection;

use crate::backend::{PinnedSession, Session, SessionError};

pub(super) enum OwnSession {
    Plain(Box<dyn Session>),
    /// Its connection goes back and forth between the holder and the task.
    Pinned(Box<dyn PinnedSession>),
}

impl OwnSession {
    pub(super) fn number(&self) -> i64 {
        match self {
            Self::Plain(session) => session.number(),
            Self::Pinned(session) => session.number(),
        }
    }

    /// The holder's connection.
    pub(super) fn connection(&self) -> Option<DatabaseConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Pinned(session) => Some(session.connection()),
        }
    }

    /// The session, unless its holder is at work on it. It stays here until it is
    /// [lent](Self::lend).
    pub(super) fn take(&mut self) -> Result<Option<&mut dyn Session>, SessionError> {
        match self {
            Self::Plain(session) => Ok(Some(&mut **session)),
            Self::Pinned(session) => session.take(),
        }
    }

    /// The session, as soon as its holder has left it. Cancel safe.
    pub(super) async fn taken(&mut self) -> Result<&mut dyn Session, SessionError> {
        match self {
            Self::Plain(session) => Ok(&mut **session),
            Self::Pinned(session) => session.taken().await,
        }
    }

    /// When its connection set out on its way back; see [`PinnedSession::returning_since`].
    pub(super) fn returning_since(&self) -> Option<Instant> {
        match self {
            Self::Plain(_) => None,
            Self::Pinned(session) => session.returning_since(),
        }
    }

    /// Lets the holder work on it.
    pub(super) fn lend(&mut self) {
        if let Self::Pinned(session) = self {
            session.lend();
        }
    }

    /// Ends the session, at the latest when its holder leaves it.
    pub(super) async fn close(self) {
        match self {
            Self::Plain(session) => session.close().await,
            Self::Pinned(session) => session.close().await,
        }
    }
}
