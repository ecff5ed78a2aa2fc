//! Locks are apart from the database's own: whatever a transaction holds there, a lock can be taken.

use std::time::Duration;

use dlock::DLockExt;
use dlock_tests::connect;
use sea_orm::sqlx::sqlite::SqlitePool;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::time::timeout;

use super::database::Scratch;
use crate::suite::Outcome;

const KEY: i64 = 42;

/// SQLite gives up a busy database after five seconds.
const PROMPTLY: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_first_lock_does_not_wait_for_a_transaction_that_has_the_file_for_itself() -> Outcome {
    let scratch = Scratch::create().await;
    let file = scratch.folder.join("plain.db");
    let url = format!("sqlite:{}?mode=rwc", file.display());
    let db = connect(&url, 2).await;
    db.execute_unprepared("CREATE TABLE t (n)").await?;
    let sqlx: &SqlitePool = db.get_sqlite_connection_pool();
    let txn = sqlx.begin_with("BEGIN EXCLUSIVE").await?;
    let guard = timeout(PROMPTLY, db.dlock(KEY).into_future()).await??;
    guard.release().await?;
    Ok(txn.rollback().await?)
}

#[tokio::test]
async fn a_first_lock_does_not_wait_for_a_transaction_that_changes_tables_in_memory() -> Outcome {
    let url = format!("sqlite:file:memory-{:016x}?mode=memory", fastrand::u64(..));
    let db = connect(&url, 2).await;
    let txn = db.begin().await?;
    txn.execute_unprepared("CREATE TABLE t (n)").await?;
    let guard = timeout(PROMPTLY, db.dlock(KEY).into_future()).await??;
    guard.release().await?;
    Ok(txn.rollback().await?)
}
