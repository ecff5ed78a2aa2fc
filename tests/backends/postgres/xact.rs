//! `.xact()`: what holds a lock that ends with its transaction, and whom it excludes.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, IsolationLevel, Statement, TransactionOptions,
    TransactionTrait,
};

use tokio::time::{Instant, timeout};

use super::server::{PATIENCE, Server, application, key, name, sessions, url};

#[tokio::test]
async fn a_transaction_holds_its_lock_until_it_commits_or_rolls_back() {
    let db = connect(&url(), 2).await;
    let mut server = Server::main().await;
    for commit in [true, false] {
        let key = key();
        let txn = db.begin().await.unwrap();
        txn.dlock(key).xact().await.unwrap();
        assert_eq!(server.holders(key).await, 1);
        assert!(!server.can_take(key).await);
        let other = db.begin().await.unwrap();
        assert!(!other.dlock(key).xact().try_acquire().await.unwrap());
        end(txn, commit).await;
        assert!(other.dlock(key).xact().try_acquire().await.unwrap());
        end(other, commit).await;
        assert_eq!(server.holders(key).await, 0);
    }
}

async fn end(txn: DatabaseTransaction, commit: bool) {
    let ended = match commit {
        true => txn.commit().await,
        false => txn.rollback().await,
    };
    ended.expect("the transaction is usable");
}

#[tokio::test]
async fn a_dropped_transaction_gives_its_lock_back() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let key = key();
    let txn = db.begin().await.unwrap();
    txn.dlock(key).xact().await.unwrap();
    drop(txn);
    server.until_free(key).await;
}

#[tokio::test]
async fn a_transaction_waits_for_the_end_of_another() {
    let db = connect(&url(), 2).await;
    let mut server = Server::main().await;
    let key = key();
    let first = db.begin().await.unwrap();
    first.dlock(key).xact().await.unwrap();
    let second = tokio::spawn({
        let db = db.clone();
        async move {
            let txn = db.begin().await?;
            txn.dlock(key).xact().await?;
            Ok::<_, DbErr>(txn)
        }
    });
    server.until_wanted(key, 1).await;
    first.commit().await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert_eq!(server.holders(key).await, 1);
    second.commit().await.unwrap();
    assert_eq!(server.holders(key).await, 0);
}

#[tokio::test]
async fn readers_share_a_lock_and_exclude_a_writer() {
    let db = connect(&url(), 3).await;
    let key = key();
    let (a, b, writer) = (
        db.begin().await.unwrap(),
        db.begin().await.unwrap(),
        db.begin().await.unwrap(),
    );
    a.dlock(key).shared().xact().await.unwrap();
    b.dlock(key).xact().shared().await.unwrap();
    assert!(!writer.dlock(key).xact().try_acquire().await.unwrap());
    a.commit().await.unwrap();
    assert!(!writer.dlock(key).xact().try_acquire().await.unwrap());
    b.commit().await.unwrap();
    assert!(writer.dlock(key).xact().try_acquire().await.unwrap());
    let reader = db.begin().await.unwrap();
    let shared = reader.dlock(key).shared().xact().try_acquire().await;
    assert!(!shared.unwrap());
}

#[tokio::test]
async fn a_transaction_gets_its_own_lock_again() {
    let db = connect(&url(), 1).await;
    let key = key();
    let txn = db.begin().await.unwrap();
    txn.dlock(key).xact().await.unwrap();
    txn.dlock(key).xact().timeout(Duration::ZERO).await.unwrap();
    assert!(txn.dlock(key).xact().try_acquire().await.unwrap());
    assert!(txn.dlock(key).shared().xact().try_acquire().await.unwrap());
    txn.commit().await.unwrap();
    assert!(Server::main().await.can_take(key).await);
}

#[tokio::test]
async fn a_rollback_to_an_earlier_savepoint_releases_and_its_release_keeps() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let (rolled_back, kept) = (key(), key());
    let txn = db.begin().await.unwrap();

    let nested = txn.begin().await.unwrap();
    nested.dlock(rolled_back).xact().await.unwrap();
    assert_eq!(server.holders(rolled_back).await, 1);
    nested.rollback().await.unwrap();
    assert_eq!(server.holders(rolled_back).await, 0);

    let nested = txn.begin().await.unwrap();
    nested.dlock(kept).xact().await.unwrap();
    nested.commit().await.unwrap();
    assert_eq!(server.holders(kept).await, 1);
    txn.commit().await.unwrap();
    assert_eq!(server.holders(kept).await, 0);
}

#[tokio::test]
async fn transaction_locks_and_session_locks_exclude_each_other() {
    let (ours, theirs) = (connect(&url(), 1).await, connect(&url(), 1).await);
    let key = key();
    let guard = theirs.dlock(key).await.unwrap();
    let txn = ours.begin().await.unwrap();
    assert!(!txn.dlock(key).xact().try_acquire().await.unwrap());
    assert!(!txn.dlock(key).shared().xact().try_acquire().await.unwrap());
    guard.release().await.unwrap();
    assert!(txn.dlock(key).xact().try_acquire().await.unwrap());
    assert!(theirs.dlock(key).try_acquire().await.unwrap().is_none());
    // Its own application's lock session is another session, too.
    assert!(ours.dlock(key).try_acquire().await.unwrap().is_none());
    txn.commit().await.unwrap();
    assert!(theirs.dlock(key).try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn a_transaction_lock_opens_no_lock_session() {
    let (url, application) = application(&url());
    let db = connect(&url, 2).await;
    let key = key();
    let first = db.begin().await.unwrap();
    first.dlock(key).xact().await.unwrap();
    let second = db.begin().await.unwrap();
    let timeout = Duration::from_millis(50);
    second.dlock(key).xact().timeout(timeout).await.unwrap_err();
    let status = LockPool::of(&db).status();
    assert_eq!(status.sessions, 0);
    assert_eq!(status.counters.sessions_opened, 0);
    let mut server = Server::main().await;
    assert_eq!(server.count(&sessions(&application)).await, 0);
}

/// The value in a table of one row, read in this transaction.
async fn value(txn: &DatabaseTransaction, table: &str) -> Result<i32, DbErr> {
    let sql = format!("SELECT value FROM {table}");
    let read = Statement::from_string(txn.get_database_backend(), sql);
    let row = txn.query_one_raw(read).await?.expect("one row");
    row.try_get_by_index(0)
}

fn repeatable_read() -> TransactionOptions {
    TransactionOptions {
        isolation_level: Some(IsolationLevel::RepeatableRead),
        ..TransactionOptions::default()
    }
}

/// A table of one row with the value 0, and a raw holder of a key that sets it to 1 and commits, then unlocks, once somebody waits.
async fn previous_holder(key: i64) -> (String, tokio::task::JoinHandle<()>) {
    let table = name();
    let mut holder = Server::main().await;
    let create = format!("CREATE TABLE {table} AS SELECT 0 AS value");
    holder.run(&create).await;
    holder.lock(key).await;
    let update = format!("UPDATE {table} SET value = 1");
    let task = tokio::spawn(async move {
        // A session lock waits on the server or tries again and again, so the waiter's trace is either.
        tokio::time::sleep(Duration::from_millis(300)).await;
        holder.run(&update).await;
        holder.unlock(key).await;
    });
    (table, task)
}

#[tokio::test]
async fn repeatable_read_sees_the_snapshot_from_before_the_wait_of_xact() {
    let db = connect(&url(), 1).await;
    let key = key();
    let (table, holder) = previous_holder(key).await;
    let txn = db.begin_with_options(repeatable_read()).await.unwrap();
    txn.dlock(key).xact().timeout(PATIENCE).await.unwrap();
    holder.await.unwrap();
    assert_eq!(value(&txn, &table).await.unwrap(), 0);
    txn.commit().await.unwrap();
    let txn = db.begin().await.unwrap();
    assert_eq!(value(&txn, &table).await.unwrap(), 1);
    txn.execute_unprepared(&format!("DROP TABLE {table}"))
        .await
        .unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn read_committed_sees_what_was_committed_during_the_wait_of_xact() {
    let db = connect(&url(), 1).await;
    let key = key();
    let (table, holder) = previous_holder(key).await;
    let txn = db.begin().await.unwrap();
    txn.dlock(key).xact().timeout(PATIENCE).await.unwrap();
    holder.await.unwrap();
    assert_eq!(value(&txn, &table).await.unwrap(), 1);
    txn.execute_unprepared(&format!("DROP TABLE {table}"))
        .await
        .unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn repeatable_read_in_a_locked_transaction_sees_what_the_previous_holder_committed() {
    let db = connect(&url(), 1).await;
    let key = key();
    let (table, holder) = previous_holder(key).await;
    let lock = db.dlock(key).timeout(PATIENCE);
    let seen = lock
        .transaction_with_options(repeatable_read(), async |txn| value(txn, &table).await)
        .await;
    assert_eq!(seen.unwrap(), 1);
    holder.await.unwrap();
    Server::main()
        .await
        .run(&format!("DROP TABLE {table}"))
        .await;
}

#[tokio::test]
async fn a_transaction_takes_over_the_namespace_of_a_pool() {
    let db = connect(&url(), 2).await;
    LockPool::builder(&db).namespace(name()).install();
    let key = name();
    let guard = db.dlock(&key).await.unwrap();
    let txn = db.begin().await.unwrap();
    // Without the settings it is another lock.
    assert!(txn.dlock(&key).xact().try_acquire().await.unwrap());
    let taken = txn.dlock(&key).settings_of(&db).xact().try_acquire().await;
    assert!(!taken.unwrap());
    guard.release().await.unwrap();
    let taken = txn
        .dlock(&key)
        .settings_of(&LockPool::of(&db))
        .xact()
        .try_acquire()
        .await;
    assert!(taken.unwrap());
    assert!(db.dlock(&key).try_acquire().await.unwrap().is_none());
    txn.rollback().await.unwrap();
    db.dlock(&key).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_transaction_takes_over_the_default_timeout_of_a_pool_and_knows_its_guards() {
    let db = connect(&url(), 2).await;
    let limit = Duration::from_millis(300);
    LockPool::builder(&db).default_timeout(limit).install();
    let key = name();
    let guard = db.dlock(&key).await.unwrap();
    let txn = db.begin().await.unwrap();
    let started = Instant::now();
    let lock = txn.dlock(&key).settings_of(&db).xact();
    let error = timeout(PATIENCE, lock).await.unwrap().unwrap_err();
    assert!(started.elapsed() >= limit);
    let text = error.to_string();
    assert!(text.contains("held by this process"), "{text}");
    // A timeout of its own counts, and so does none.
    let own = txn.dlock(&key).settings_of(&db).timeout(3 * limit).xact();
    let Err(Error::Timeout { waited, .. }) = own.await else {
        panic!("it is held");
    };
    assert!(waited >= 3 * limit, "{waited:?}");
    let forever = txn.dlock(&key).settings_of(&db).no_timeout().xact();
    assert!(timeout(2 * limit, forever).await.is_err());
    guard.release().await.unwrap();
    txn.rollback().await.unwrap();
}
