//! A database that SeaORM has connections to, as the list in `mod.rs` has it.

use sea_orm::{DatabaseBackend, DatabaseConnection, DbErr};

use super::origin::Application;
use super::rules::LockRules;
use super::transaction::TransactionLocks;
use crate::error::Error;

/// A database that SeaORM has connections to. Each method answers `None` for another database.
pub(crate) trait OrmDatabase: Sync {
    /// The application's pool behind a connection.
    fn application<'a>(&self, connection: &'a DatabaseConnection) -> Option<&'a dyn Application>;

    /// Locks that end with a transaction.
    fn transaction_locks(&self, _: DatabaseBackend) -> Option<&'static dyn TransactionLocks> {
        None
    }

    /// Keys and modes, where no server can be asked.
    fn rules(&self, _: DatabaseBackend) -> Option<&'static LockRules> {
        None
    }

    /// A better error for a lock's statement that failed in a transaction of the application.
    fn explain_in_transaction(&self, _: &DbErr) -> Option<Error> {
        None
    }
}
