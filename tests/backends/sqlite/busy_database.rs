//! Locks are apart from the database's own: whatever a transaction holds there, a lock can be taken.

use std::time::Duration;

use dlock::DLockExt;
use dlock_tests::connect;
use sea_orm::sqlx;
use sea_orm::sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
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

/// These settings of an application need the file, and a session of the application has it.
#[tokio::test]
async fn a_first_lock_runs_no_pragma_of_the_application() -> Outcome {
    let scratch = Scratch::create().await;
    let file = scratch.folder.join("plain.db");
    let plain = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let owner = SqlitePool::connect_with(plain.clone().locking_mode(SqliteLockingMode::Exclusive));
    let owner = owner.await?;
    sqlx::raw_sql("CREATE TABLE t (n)").execute(&owner).await?;
    let exclusive = plain.clone().locking_mode(SqliteLockingMode::Exclusive);
    for options in [
        exclusive,
        plain.clone().journal_mode(SqliteJournalMode::Wal),
        plain.clone().synchronous(SqliteSynchronous::Normal),
        plain.clone().auto_vacuum(SqliteAutoVacuum::Full),
        plain.clone().pragma("user_version", "7"),
    ] {
        let db: DatabaseConnection = SqlitePoolOptions::new().connect_lazy_with(options).into();
        let guard = timeout(PROMPTLY, db.dlock(KEY).into_future()).await??;
        let theirs = timeout(PROMPTLY, owner.dlock(KEY).try_acquire()).await??;
        assert!(theirs.is_none());
        guard.release().await?;
    }
    let locks = scratch.folder.join("plain.db.dlock");
    assert!(locks.is_dir(), "{}", locks.display());
    owner.close().await;
    Ok(())
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
