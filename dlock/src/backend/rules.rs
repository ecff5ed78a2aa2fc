//! What each database calls things: pure functions from a request to a statement. No I/O; one file per database.

use sea_orm::DatabaseBackend;
use std::time::Duration;

use super::left_out;
#[cfg(feature = "mysql")]
use super::mysql;
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// A batch has this many releases and this many tries at most, so that a request never waits for much more than its own round trip.
pub(crate) const MAX_BATCH: usize = 256;

/// What the layers above must know of a database before they talk to it.
pub(crate) trait Dialect: Send + Sync {
    /// The database's name as it is written by its makers.
    fn backend(&self) -> &'static str;

    /// The lock's name on the server; `None` when that depends on a server that is not known yet.
    fn physical_key(&self, key: &KeyRepr) -> Result<Option<PhysicalKey>, Error>;

    /// Whether a lock can be held like this.
    fn check(&self, mode: Mode) -> Result<(), Error> {
        match mode {
            Mode::Exclusive | Mode::Shared => Ok(()),
            another => Err(no_such_mode(self.backend(), another)),
        }
    }

    /// What a lock that is held like this can become.
    fn upgraded(&self, _: Mode) -> Result<Mode, Error> {
        Err(Error::Unsupported {
            backend: self.backend(),
            feature: "upgrades of locks",
            hint: "release the lock and take an exclusive one: others may have it in between",
        })
    }
}

/// It is another database's.
pub(crate) fn no_such_mode(backend: &'static str, mode: Mode) -> Error {
    let (feature, hint) = match mode {
        Mode::Update => (
            "update locks",
            "SQL Server has them: take an exclusive lock, which keeps readers out, too",
        ),
        Mode::Shared => (
            "shared locks",
            "its locks are exclusive: leave `.shared()` out, or let readers go without a lock",
        ),
        _ => (
            "locks in this mode",
            "Oracle has it: take an exclusive or a shared lock",
        ),
    };
    Error::Unsupported {
        backend,
        feature,
        hint,
    }
}

/// Locks that end with the caller's transaction. The statements take no parameters, since behind a transaction pooler a statement that SeaORM prepares can meet
/// one of the same name on a server session that others have used; so the answer is a number of rows.
pub(crate) trait TransactionLocks: Send + Sync {
    /// What else is to be known of the database.
    fn dialect(&self) -> &dyn Dialect;

    /// One row: the `database` that the transaction is in.
    fn database(&self) -> String;

    /// The lock's name on the server.
    fn physical_key(&self, key: &KeyRepr) -> Result<PhysicalKey, Error>;

    /// As many rows as [`TransactionOutcome::rows`] says.
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> String;

    /// One row where [`wait`](Self::wait) works.
    fn can_wait(&self) -> String;

    /// Waits in the server for at most `slice`, leaves the transaction usable and its settings as
    /// they were. As many rows as [`TransactionOutcome::rows`] says.
    fn wait(
        &self,
        key: &PhysicalKey,
        mode: Mode,
        slice: Duration,
        deadlocks: DeadlockCheck,
    ) -> String;
}

/// Whether a wait is to last until the server has looked for deadlocks. The wait that follows need
/// not: a transaction that closes a cycle later looks for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadlockCheck {
    Wanted,
    Unwanted,
}

/// How a try or a wait inside a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionOutcome {
    Busy,
    Granted,
    Deadlock,
    /// Nothing was locked: the transaction runs on a hot standby.
    Standby,
}

impl TransactionOutcome {
    pub(crate) const ALL: [Self; 4] = [Self::Busy, Self::Granted, Self::Deadlock, Self::Standby];

    /// As [`TransactionLocks`] answers.
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
        #[cfg(not(feature = "postgres"))]
        DatabaseBackend::Postgres => Err(left_out::POSTGRES.error()),
        other => Err(Error::Unsupported {
            backend: name(other),
            feature: "locks that end with a transaction (`.xact()`)",
            hint: "use `db.dlock(key).transaction(..)`: it locks, begins, commits and unlocks in this order",
        }),
    }
}

/// The dialect of this database, for who cannot ask a server; of MySQL and MariaDB, MySQL.
#[cfg(feature = "mock")]
pub(crate) fn of(backend: DatabaseBackend) -> &'static dyn Dialect {
    match backend {
        #[cfg(feature = "postgres")]
        DatabaseBackend::Postgres => &postgres::Postgres,
        #[cfg(not(feature = "postgres"))]
        DatabaseBackend::Postgres => &left_out::POSTGRES,
        #[cfg(feature = "mysql")]
        DatabaseBackend::MySql => mysql::names(Some(mysql::MySql::MySql)),
        #[cfg(not(feature = "mysql"))]
        DatabaseBackend::MySql => &left_out::MYSQL,
        #[cfg(feature = "sqlite")]
        DatabaseBackend::Sqlite => &sqlite::Sqlite,
        #[cfg(not(feature = "sqlite"))]
        DatabaseBackend::Sqlite => &left_out::SQLITE,
        _ => &left_out::UNKNOWN,
    }
}

/// The key on a database that knows locks by name.
#[cfg(any(feature = "mysql", feature = "sqlite", feature = "mssql"))]
pub(crate) fn lock_name(
    key: &KeyRepr,
    backend: &'static str,
) -> Result<std::sync::Arc<str>, Error> {
    let text = match key {
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
        KeyRepr::Pair(..) => return Err(no_pairs(backend)),
    };
    not_empty(text.as_bytes())?;
    Ok(text)
}

/// Only PostgreSQL has locks for them.
#[cfg(any(
    feature = "mysql",
    feature = "sqlite",
    feature = "mssql",
    feature = "oracle"
))]
pub(crate) fn no_pairs(backend: &'static str) -> Error {
    Error::Unsupported {
        backend,
        feature: "a pair of integers as a key",
        hint: "write it as text: `format!(\"{a},{b}\")`",
    }
}

/// What takes the place of a name that the server does not take: 32 bytes of BLAKE2b in hexadecimal, as `printf %s NAME | b2sum -l 256` prints them.
#[cfg(any(feature = "mysql", feature = "mssql"))]
pub(crate) fn hashed(name: &str) -> std::sync::Arc<str> {
    use blake2::digest::consts::U32;
    use blake2::{Blake2b, Digest};

    hexadecimal(&Blake2b::<U32>::digest(name)).into()
}

/// As `b2sum` prints a digest, and as servers read bytes.
#[cfg(any(feature = "mysql", feature = "sqlite", feature = "mssql"))]
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("BUG: a string takes everything");
    }
    text
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
        DatabaseBackend::MySql => "MySQL/MariaDB",
        DatabaseBackend::Sqlite => "SQLite",
        _ => "this database",
    }
}

/// These are in no build with all features: `tests/run` builds without any.
#[cfg(all(test, not(feature = "postgres")))]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_left_out_is_named_with_its_feature() {
        let refused = transaction_locks(DatabaseBackend::Postgres).err();
        let text = refused.expect("its feature is off").to_string();
        assert!(text.contains("PostgreSQL"), "{text}");
        assert!(text.contains("features = [\"postgres\"]"), "{text}");
        let refused = transaction_locks(DatabaseBackend::Sqlite).err();
        let text = refused.expect("it has none").to_string();
        assert!(text.contains("`db.dlock(key).transaction(..)`"), "{text}");
    }
}
