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
pub mod mssql;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "oracle")]
pub mod oracle;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sea_orm::{DatabaseBackend, DatabaseConnection, DbErr};

pub(crate) use self::batch::{Answer, Answers, Batch, LONGEST_SLICE, MAX_BATCH, Request};
#[cfg(test)]
pub(crate) use self::capabilities::Capabilities;
pub use self::origin::Origin;
pub(crate) use self::origin::{Application, Closed, ConnectSettings, is_over};
use self::orm_database::OrmDatabase;
pub(crate) use self::pinned::{PinnedBase, PinnedSession};
pub(crate) use self::rules::LockRules;
pub(crate) use self::seam::Backend;
#[allow(
    unused_imports,
    reason = "`UpgradeLocks` is named by the tests of the pool"
)]
pub(crate) use self::session::{Hold, InlineSession, Opened, Session, UpgradeLocks};
pub(crate) use self::session_error::SessionError;
#[cfg(feature = "_sqlx")]
pub(crate) use self::sqlx::SqlxDatabase;
pub(crate) use self::transaction::{DeadlockCheck, TransactionLocks, TransactionOutcome};
use crate::error::{Error, Phase};

/// What databases add to the crate's own modules.
pub(crate) mod public {
    #[cfg(feature = "mssql")]
    pub use super::mssql;
    #[cfg(feature = "oracle")]
    pub use super::oracle;
    #[cfg(feature = "postgres")]
    pub use super::postgres::compat;
}

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

/// The README's examples are compiled.
#[cfg(all(
    doctest,
    feature = "actix-web",
    feature = "axum",
    feature = "macros",
    feature = "mock",
    feature = "mssql",
    feature = "oracle",
    feature = "postgres",
))]
#[doc = include_str!("../../../README.md")]
struct Readme;
