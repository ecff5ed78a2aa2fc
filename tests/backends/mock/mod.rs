//! SeaORM's `MockDatabase`. The contract is not mounted: it needs processes that meet, and a server to count what they write; of a mock there is only what is below.

mod databases;
mod entities;
mod locks;
mod pinned;
mod transactions;
mod which_pool;
mod with_lock;

use sea_orm::{DatabaseConnection, DbBackend, MockDatabase};

const BACKENDS: [DbBackend; 3] = [DbBackend::Postgres, DbBackend::MySql, DbBackend::Sqlite];

/// It has no result for any statement.
fn mock(backend: DbBackend) -> DatabaseConnection {
    MockDatabase::new(backend).into_connection()
}

/// Each transaction with its statements, one after the other.
fn log(db: DatabaseConnection) -> Vec<Vec<String>> {
    let transactions = db.into_transaction_log();
    let statements = transactions.iter().map(|transaction| {
        let statements = transaction.statements().iter();
        statements.map(|one| one.sql.clone()).collect()
    });
    statements.collect()
}
