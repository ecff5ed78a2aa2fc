//! SeaORM's mock, as a connection and in transactions.

use sea_orm::{DatabaseConnection, DatabaseConnectionType, DbErr, RuntimeErr};

use crate::backend::origin::Application;
use crate::backend::orm_database::OrmDatabase;
use crate::error::Error;

pub(crate) struct Mock;

impl OrmDatabase for Mock {
    fn application<'a>(&self, connection: &'a DatabaseConnection) -> Option<&'a dyn Application> {
        match &connection.inner {
            DatabaseConnectionType::MockDatabaseConnection(mock) => Some(mock),
            _ => None,
        }
    }

    fn explain_in_transaction(&self, error: &DbErr) -> Option<Error> {
        refusal(error)
    }
}

/// A transaction does not show that it is a mock's (SeaORM 2.0: `is_mock_connection` of a transaction is `false`), so a lock's statement in it is one like any other:
/// the mock logs it and takes its answer from what the test has prepared. This is what is said when that is nothing.
fn refusal(error: &DbErr) -> Option<Error> {
    let is_ours = match error {
        DbErr::Exec(RuntimeErr::Internal(words)) => {
            words.contains("`exec_results` buffer is empty")
        }
        DbErr::Query(RuntimeErr::Internal(words)) => {
            words.contains("`query_results` buffer is empty")
        }
        _ => false,
    };
    is_ours.then_some(Error::Unsupported {
        backend: "a transaction of a `MockDatabase`",
        feature: "locks that end with it (`.xact()`) without a prepared result",
        hint: "use `db.dlock(key).transaction(..)`, which asks the mock nothing; or append `MockExecResult { rows_affected: 1, .. }` for a lock that is got, and before it, for a row without schema, a query result with the column `database`",
    })
}
