//! PostgreSQL as SeaORM has it.

use sea_orm::{DatabaseBackend, DatabaseConnection, DatabaseConnectionType};

use super::keys::RULES;
use super::statements::PgTransactionLocks;
use crate::backend::origin::Application;
use crate::backend::orm_database::OrmDatabase;
use crate::backend::rules::LockRules;
use crate::backend::transaction::TransactionLocks;

pub(crate) struct Postgres;

impl OrmDatabase for Postgres {
    fn application<'a>(&self, connection: &'a DatabaseConnection) -> Option<&'a dyn Application> {
        match connection.inner {
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                Some(connection.get_postgres_connection_pool())
            }
            _ => None,
        }
    }

    fn transaction_locks(&self, backend: DatabaseBackend) -> Option<&'static dyn TransactionLocks> {
        (backend == DatabaseBackend::Postgres).then_some(&PgTransactionLocks)
    }

    fn rules(&self, backend: DatabaseBackend) -> Option<&'static LockRules> {
        (backend == DatabaseBackend::Postgres).then_some(&RULES)
    }
}
