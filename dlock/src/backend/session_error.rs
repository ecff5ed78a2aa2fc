//! Why a session is not used any more.

use sea_orm::DbErr;

use crate::error::{Error, Phase};

/// The text of an error for want of an answer.
pub(crate) const SILENT: &str = "no answer from the server";

/// Why a session is not used any more.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SessionError {
    /// It has ended, or its state is unknown: its locks are lost.
    #[error("{0}")]
    Ended(DbErr),
    /// Its answers are not those of the server session that holds the pool's locks: all locks of the
    /// pool are lost.
    #[error("{0}")]
    Refused(Error),
}

impl SessionError {
    /// The error for a caller, in this phase.
    pub(crate) fn of(self, phase: Phase) -> Error {
        match self {
            Self::Ended(error) => phase.failed(error),
            Self::Refused(error) => error,
        }
    }
}

impl From<DbErr> for SessionError {
    fn from(error: DbErr) -> Self {
        Self::Ended(error)
    }
}

/// Whether nothing listens where the server was, as far as the operating system knows.
pub(crate) fn nobody_is_there(error: &DbErr) -> bool {
    match error {
        #[cfg(feature = "_sqlx")]
        DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error)) => {
            super::sqlx::open::nobody_listens(error)
        }
        _ => false,
    }
}
