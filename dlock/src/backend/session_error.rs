//! Why a session could not be opened, or is not used any more.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

use crate::error::{Error, Phase};

/// Why a session could not be opened, or a method of it failed. Decided where the error arises.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SessionError {
    /// It has ended, or its state is unknown: its locks are lost.
    #[error("{0}")]
    Ended(DbErr),
    /// The server did not answer within the limit: the session is given up.
    #[error("{0}")]
    Silent(DbErr),
    /// Nothing listens at the server's address, as far as the operating system knows.
    #[allow(dead_code, reason = "a build can have only drivers that do not tell")]
    #[error("{0}")]
    Unreachable(DbErr),
    /// Its answers are not those of the server session that holds the pool's locks: all locks of
    /// the pool are lost. From a session that was being opened: no lock can be taken there.
    #[error("{0}")]
    Refused(Error),
    /// The server refused this statement. For a question about locks, the session is as good as
    /// before; for any other statement, its state is unknown.
    #[error("{0}")]
    Statement(DbErr),
}

impl SessionError {
    /// [`Ended`](Self::Ended), for a reason without an error of the driver.
    pub(crate) fn ended(why: impl Into<String>) -> Self {
        Self::Ended(DbErr::Conn(RuntimeErr::Internal(why.into())))
    }

    /// [`Silent`](Self::Silent), for so long.
    pub(crate) fn silent(limit: Duration) -> Self {
        let silent = NoAnswer(limit).to_string();
        Self::Silent(DbErr::Conn(RuntimeErr::Internal(silent)))
    }

    /// The error for a caller, in this phase.
    pub(crate) fn of(self, phase: Phase) -> Error {
        match self {
            Self::Ended(error)
            | Self::Silent(error)
            | Self::Unreachable(error)
            | Self::Statement(error) => phase.failed(error),
            Self::Refused(error) => error,
        }
    }
}

/// What a check finds about the server, or about the pool. A driver that can tell silence from other
/// ends makes its `SessionError` itself.
impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database { source, .. } => Self::Ended(source),
            error => Self::Refused(error),
        }
    }
}

/// The server was silent for this long.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the server within {0:?}")]
pub(crate) struct NoAnswer(pub(crate) Duration);
