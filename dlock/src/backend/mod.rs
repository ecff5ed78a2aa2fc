//! The seam between the pool and the databases, and the list of databases.
//!
//! A database is one folder and its lines here. A folder imports the seam and what several
//! databases share, never another folder, and nothing of `pool`, `lock` or `orm`.

mod batch;
mod capabilities;
mod left_out;
mod origin;
mod orm_database;
mod pinned;
mod rules;
mod seam;
mod session;
mod session_error;
mod transaction;
mod unlockable;

#[allow(
    dead_code,
    unused_imports,
    reason = "a build can leave out the databases that use it"
)]
mod inline;
#[allow(dead_code, reason = "a build can leave out the databases that use it")]
mod shared;
#[allow(dead_code, reason = "a build can leave out the databases that use it")]
#[cfg(feature = "_sqlx")]
mod sqlx;

#[cfg(feature = "mock")]
mod mock;
#[cfg(feature = "mssql")]
mod mssql;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "oracle")]
mod oracle;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sea_orm::{DatabaseBackend, DatabaseConnection, DbErr};

pub(crate) use self::batch::{Answer, Answers, Batch, LONGEST_SLICE, MAX_BATCH, Request};
#[cfg(test)]
pub(crate) use self::capabilities::Capabilities;
#[cfg(feature = "mssql")]
pub(crate) use self::mssql::MsSqlServer;
#[cfg(feature = "oracle")]
pub(crate) use self::oracle::OracleServer;
pub(crate) use self::origin::{Application, Closed, ConnectSettings, Origin, is_over};
use self::orm_database::OrmDatabase;
pub(crate) use self::pinned::{PinnedBase, PinnedSession};
pub(crate) use self::rules::LockRules;
pub(crate) use self::seam::Backend;
#[allow(
    unused_imports,
    reason = "`UpgradeLocks` is named by the tests of the pool"
)]
pub(crate) use self::session::{InlineSession, Session, UpgradeLocks};
pub(crate) use self::session_error::SessionError;
#[cfg(feature = "_sqlx")]
pub(crate) use self::sqlx::SqlxDatabase;
pub(crate) use self::transaction::{DeadlockCheck, TransactionLocks, TransactionOutcome};
use crate::error::{Error, Phase};

/// The databases that SeaORM has connections to.
static ORM_DATABASES: &[&dyn OrmDatabase] = &[
    #[cfg(feature = "postgres")]
    &postgres::Postgres,
    #[cfg(feature = "mysql")]
    &mysql::MySql,
    #[cfg(feature = "sqlite")]
    &sqlite::Sqlite,
    #[cfg(feature = "mock")]
    &mock::Mock,
];

/// The application's pool behind a connection of SeaORM.
pub(crate) fn application(connection: &DatabaseConnection) -> Result<&dyn Application, Error> {
    let mut databases = ORM_DATABASES.iter();
    let application = databases.find_map(|database| database.application(connection));
    application.ok_or_else(|| unlockable::kind(&connection.inner))
}

/// The transaction locks of a database, if it has any.
pub(crate) fn transaction_locks(
    backend: DatabaseBackend,
) -> Result<&'static dyn TransactionLocks, Error> {
    let mut databases = ORM_DATABASES.iter();
    let locks = databases.find_map(|database| database.transaction_locks(backend));
    locks.ok_or_else(|| left_out::no_transaction_locks(backend))
}

/// The rules of a database whose server cannot be asked.
pub(crate) fn rules(backend: DatabaseBackend) -> &'static LockRules {
    let mut databases = ORM_DATABASES.iter();
    let rules = databases.find_map(|database| database.rules(backend));
    rules.unwrap_or_else(|| left_out::rules(backend))
}

/// The error when a lock's statement fails in a transaction of the application.
pub(crate) fn failed_in_transaction(error: DbErr) -> Error {
    let mut databases = ORM_DATABASES.iter();
    let explained = databases.find_map(|database| database.explain_in_transaction(&error));
    explained.unwrap_or_else(|| Phase::Acquire.failed(error))
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
