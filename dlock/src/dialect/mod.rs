//! What each database calls things: pure functions from a request to a statement. No I/O; one file per database.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;

use sea_orm::{DatabaseBackend, Statement};
use std::time::Duration;

use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// What the layers above must know of a database before they talk to it.
pub(crate) trait Dialect: Send + Sync {
    /// The lock's name on the server.
    fn physical_key(&self, key: &Key) -> Result<PhysicalKey, Error>;
}

/// Locks that end with the caller's transaction.
pub(crate) trait TransactionLocks: Dialect {
    /// One row, one boolean: whether the lock is held now.
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> Statement;

    /// One row, one boolean: whether [`wait`](Self::wait) works here.
    fn can_wait(&self) -> Statement;

    /// Waits in the server for at most `slice`, leaves the transaction usable and its settings as they were. Takes no parameters.
    fn wait(&self, key: &PhysicalKey, mode: Mode, slice: Duration) -> String;

    /// One row, one text: how the last [`wait`](Self::wait) ended, as [`WaitOutcome::parse`] reads it.
    fn outcome(&self) -> Statement;
}

/// How a wait inside a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitOutcome {
    Granted,
    TimedOut,
    Deadlock,
}

impl WaitOutcome {
    const ALL: [Self; 3] = [Self::Granted, Self::TimedOut, Self::Deadlock];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::TimedOut => "timed out",
            Self::Deadlock => "deadlock",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
    }
}

/// The transaction locks of a database, if it has any.
pub(crate) fn transaction_locks(
    backend: DatabaseBackend,
) -> Result<&'static dyn TransactionLocks, Error> {
    match backend {
        #[cfg(feature = "postgres")]
        DatabaseBackend::Postgres => Ok(&postgres::Postgres),
        other => Err(Error::Unsupported {
            backend: name(other),
            feature: "locks that end with a transaction (`.xact()`)",
            hint: "use `db.dlock(key).transaction(..)`: it locks, begins, commits and unlocks in this order",
        }),
    }
}

/// The database's name as it is written by its makers.
pub(crate) fn name(backend: DatabaseBackend) -> &'static str {
    match backend {
        DatabaseBackend::Postgres => "PostgreSQL",
        DatabaseBackend::MySql => "MySQL",
        DatabaseBackend::Sqlite => "SQLite",
        _ => "this database",
    }
}
