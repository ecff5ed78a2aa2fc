//! What each database calls things: pure functions from a request to a statement. No I/O; one file per database.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use sea_orm::DatabaseBackend;
use std::time::Duration;

use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// What the layers above must know of a database before they talk to it.
pub(crate) trait Dialect: Send + Sync {
    /// The lock's name on the server.
    fn physical_key(&self, key: &Key) -> Result<PhysicalKey, Error>;
}

/// Locks that end with the caller's transaction. The statements take no parameters, since behind a transaction pooler a statement that SeaORM prepares can meet
/// one of the same name on a server session that others have used; so the answer is a number of rows.
pub(crate) trait TransactionLocks: Dialect {
    /// One row when the lock is held now, none when somebody else has it.
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> String;

    /// One row where [`wait`](Self::wait) works.
    fn can_wait(&self) -> String;

    /// Waits in the server for at most `slice`, leaves the transaction usable and its settings as they were. As many rows as [`WaitOutcome::rows`] says.
    fn wait(&self, key: &PhysicalKey, mode: Mode, slice: Duration) -> String;
}

/// How a wait inside a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitOutcome {
    TimedOut,
    Granted,
    Deadlock,
}

impl WaitOutcome {
    const ALL: [Self; 3] = [Self::TimedOut, Self::Granted, Self::Deadlock];

    /// As [`TransactionLocks::wait`] answers.
    pub(crate) fn rows(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_rows(rows: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.rows() == rows)
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

/// The key on a database that knows locks by name.
#[cfg(feature = "sqlite")]
pub(crate) fn lock_name(key: &Key, backend: DatabaseBackend) -> Result<PhysicalKey, Error> {
    use crate::key::KeyRepr;

    let text = match key.repr() {
        KeyRepr::Text(text) => text.clone(),
        KeyRepr::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => {
                return Err(Error::InvalidKey {
                    key: key.to_string(),
                    reason: "this database names locks by text, and these bytes are not UTF-8; write them as text, in hexadecimal for example",
                });
            }
        },
        KeyRepr::Int(int) => int.to_string().into(),
        KeyRepr::Pair(..) => {
            return Err(Error::Unsupported {
                backend: name(backend),
                feature: "a pair of integers as a key",
                hint: "write it as text: `format!(\"{a},{b}\")`",
            });
        }
    };
    not_empty(text.as_bytes())?;
    Ok(PhysicalKey::Name(text))
}

/// The empty key is nobody's.
pub(crate) fn not_empty(key: &[u8]) -> Result<(), Error> {
    match key {
        [] => Err(Error::InvalidKey {
            key: String::new(),
            reason: "it is empty; name what is locked",
        }),
        _ => Ok(()),
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
