//! SQLite as SeaORM has it.

use sea_orm::{DatabaseBackend, DatabaseConnection, DatabaseConnectionType};

use super::keys::RULES;
use crate::backend::origin::Application;
use crate::backend::orm_database::OrmDatabase;
use crate::backend::rules::LockRules;

pub(crate) struct Sqlite;

impl OrmDatabase for Sqlite {
    fn application<'a>(&self, connection: &'a DatabaseConnection) -> Option<&'a dyn Application> {
        match connection.inner {
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                Some(connection.get_sqlite_connection_pool())
            }
            _ => None,
        }
    }

    fn rules(&self, backend: DatabaseBackend) -> Option<&'static LockRules> {
        (backend == DatabaseBackend::Sqlite).then_some(&RULES)
    }
}
