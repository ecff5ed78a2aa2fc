//! Statements past dlock.

use dlock_tests::Db;
use sea_orm::{ConnectionTrait, DbErr, Statement, TryGetable};

use super::{Failure, Outcome};

/// The first column of the only row.
pub(crate) async fn ask<T: TryGetable>(
    db: &impl ConnectionTrait,
    question: impl Into<String>,
) -> Outcome<T> {
    let question = Statement::from_string(db.get_database_backend(), question);
    let row = db.query_one_raw(question).await?;
    let row = row.ok_or_else(|| Failure::new("no row"))?;
    Ok(row.try_get_by_index(0)?)
}

/// What an application does beside its locks: a statement, where it has a connection.
pub(super) async fn work(db: &impl Db) -> Result<(), DbErr> {
    match db.connection() {
        Some(db) => db.execute_unprepared("SELECT 1").await.map(drop),
        None => {
            tokio::task::yield_now().await;
            Ok(())
        }
    }
}
