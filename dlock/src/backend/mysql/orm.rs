//! MySQL and MariaDB as SeaORM has them.

use sea_orm::{DatabaseBackend, DatabaseConnection, DatabaseConnectionType};

use super::keys::{self, ServerKind};
use crate::backend::origin::Application;
use crate::backend::orm_database::OrmDatabase;
use crate::backend::rules::LockRules;

pub(crate) struct MySql;

impl OrmDatabase for MySql {
    fn application<'a>(&self, connection: &'a DatabaseConnection) -> Option<&'a dyn Application> {
        match connection.inner {
            DatabaseConnectionType::SqlxMySqlPoolConnection(_) => {
                Some(connection.get_mysql_connection_pool())
            }
            _ => None,
        }
    }

    /// Of the two, MySQL's.
    fn rules(&self, backend: DatabaseBackend) -> Option<&'static LockRules> {
        (backend == DatabaseBackend::MySql).then(|| keys::rules(Some(ServerKind::MySql)))
    }
}
