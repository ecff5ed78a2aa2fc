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

/// A transaction does not show that it is a mock's (SeaORM 2.0: `is_mock_connection` of a
/// transaction is `false`), so a lock's statement in it is one like any other: the mock logs it and
/// takes its answer from what the test has prepared. This is what is said when that is nothing.
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

#[cfg(test)]
mod tests {
    use sea_orm::{DatabaseBackend, MockDatabase};

    use crate::DLockExt;
    use crate::backend::rules;

    /// Errors for connections that this build cannot lock rely on it.
    #[test]
    fn a_kind_shows_its_name() {
        let db = MockDatabase::new(DatabaseBackend::Sqlite).into_connection();
        assert_eq!(format!("{:?}", db.inner), "MockDatabaseConnection");
    }

    #[tokio::test]
    async fn a_mock_of_a_database_that_was_left_out_names_its_feature() {
        for (backend, feature) in [
            (DatabaseBackend::Postgres, "`postgres`"),
            (DatabaseBackend::MySql, "`mysql`"),
            (DatabaseBackend::Sqlite, "`sqlite`"),
        ] {
            let is_there = rules(backend).refusal.is_none();
            let db = MockDatabase::new(backend).into_connection();
            match db.dlock("key").try_acquire().await {
                Ok(guard) => assert!(is_there && guard.is_some()),
                Err(error) => {
                    let words = error.to_string();
                    assert!(!is_there && words.contains(feature), "{words}");
                }
            }
            assert!(db.into_transaction_log().is_empty());
        }
    }
}
