//! Pinned locks on PostgreSQL: whose settings their sessions have, and what a transaction does to them.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, PhysicalKey};
use dlock_tests::connect;
use sea_orm::sqlx::Executor;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use tokio::time::{sleep, timeout};

use super::server::{PATIENCE, Server, key, name, options, url};
use super::sessions::with_hook;

/// A pinned session is pinged every half second while it is idle.
const PROMPT: Duration = Duration::from_secs(2);

async fn show(db: &impl ConnectionTrait, setting: &str) -> String {
    let show = format!("SELECT current_setting('{setting}')");
    let show = Statement::from_string(db.get_database_backend(), show);
    let row = db.query_one_raw(show).await.expect("an answer");
    let row = row.expect("a row");
    row.try_get_by_index(0).expect("text")
}

#[tokio::test]
async fn hooks_and_limits_of_the_application_are_in_force_on_a_pinned_session() {
    let schema = name();
    let limits = [
        ("search_path", schema.as_str()),
        ("statement_timeout", "400ms"),
        ("lock_timeout", "300ms"),
        ("idle_in_transaction_session_timeout", "700ms"),
    ];
    let hook = limits.map(|(setting, value)| format!("SET {setting} = '{value}';"));
    let db = with_hook(hook.concat());
    let (wanted, mut server) = (key(), Server::main().await);
    server.lock(wanted).await;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).pinned().timeout(PATIENCE).await }
    });
    // Longer than any of them.
    sleep(Duration::from_millis(1300)).await;
    assert!(!waiter.is_finished());
    server.unlock(wanted).await;
    let guard = waiter.await.unwrap().unwrap();
    for (setting, value) in limits {
        assert_eq!(show(&guard, setting).await, value, "{setting}");
    }
    assert_eq!(show(&guard, "application_name").await, "dlock");
    let late = guard.execute_unprepared("SELECT pg_sleep(5)").await;
    let late = late.expect_err("it lasts too long").to_string();
    assert!(late.contains("statement timeout"), "{late}");
    let txn = guard.begin().await.unwrap();
    assert!(txn.execute_unprepared("SELECT 1 / 0").await.is_err());
    txn.rollback().await.unwrap();
    sleep(Duration::from_millis(700)).await;
    assert!(guard.is_held());
    assert_eq!(server.holders(wanted).await, 1);
    // The last of them ends the session, which its next statement shows.
    let txn = guard.begin().await.unwrap();
    server.until_free(wanted).await;
    assert!(txn.commit().await.is_err());
    timeout(PROMPT, guard.lost()).await.unwrap();
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
}

#[tokio::test]
async fn settings_of_a_guard_end_with_it() {
    let db = connect(&url(), 1).await;
    let guard = db.dlock(key()).pinned().await.unwrap();
    guard
        .execute_unprepared("SET work_mem = '123kB'; CREATE TEMP TABLE mine (n int)")
        .await
        .unwrap();
    guard.release().await.unwrap();
    for _ in 0..3 {
        let guard = db.dlock(key()).pinned().await.unwrap();
        assert_ne!(show(&guard, "work_mem").await, "123kB");
        assert!(
            guard
                .execute_unprepared("SELECT * FROM mine")
                .await
                .is_err()
        );
        assert!(guard.is_held());
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn credentials_that_have_changed_are_used_for_the_next_pinned_lock() {
    let mut server = Server::main().await;
    let role = name();
    server.run(&format!("CREATE ROLE {role} LOGIN")).await;
    let db = connect(&url(), 1).await;
    let before = db.dlock(key()).pinned().await.unwrap();
    let pool = db.get_postgres_connection_pool();
    pool.set_connect_options(options(&url()).username(&role));
    let after = db.dlock(key()).pinned().await.unwrap();
    assert_ne!(show(&before, "session_authorization").await, role);
    assert_eq!(show(&after, "session_authorization").await, role);
    before.release().await.unwrap();
    after.release().await.unwrap();
    LockPool::of(&db).close().await;
    let gone = format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{role}')");
    server.until(&gone).await;
    server.run(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn discard_all_after_release_frees_no_pinned_lock() {
    let pool = PgPoolOptions::new().after_release(|connection, _| {
        Box::pin(async move { connection.execute("DISCARD ALL").await.map(|_| true) })
    });
    let db: DatabaseConnection = pool.connect_lazy_with(options(&url())).into();
    let key = key();
    let guard = db.dlock(key).pinned().await.unwrap();
    let mut server = Server::main().await;
    for _ in 0..10 {
        // Each gives the connection back to its pool.
        guard.execute_unprepared("SELECT 1").await.unwrap();
        drop(guard.begin().await.unwrap());
        assert_eq!(server.holders(key).await, 1);
    }
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_pair_is_a_pinned_lock_of_its_own_kind() {
    let db = connect(&url(), 1).await;
    let pair = (fastrand::i32(..), fastrand::i32(..));
    let guard = db.dlock(pair).pinned().await.unwrap();
    assert_eq!(guard.physical_key(), &PhysicalKey::Pair(pair.0, pair.1));
    let one = (i64::from(pair.0) << 32) | i64::from(pair.1.cast_unsigned());
    assert!(Server::main().await.can_take(one).await);
    assert!(db.dlock(pair).try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
}

/// That a transaction lock can be taken on it as well, of another key or of the same.
#[tokio::test]
async fn a_transaction_of_a_pinned_guard_takes_transaction_locks() {
    let db = connect(&url(), 1).await;
    let (key, other) = (key(), key());
    let guard = db.dlock(key).pinned().await.unwrap();
    let mut server = Server::main().await;
    let txn = guard.begin().await.unwrap();
    txn.dlock(other).xact().await.unwrap();
    txn.dlock(key).xact().await.unwrap();
    assert!(!server.can_take(other).await);
    txn.rollback().await.unwrap();
    assert!(server.can_take(other).await);
    assert_eq!(server.holders(key).await, 1);
    guard.release().await.unwrap();
    assert_eq!(server.holders(key).await, 0);
}

#[tokio::test]
async fn a_failed_transaction_that_is_left_is_no_obstacle_to_a_release() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    for in_words in [true, false] {
        let key = key();
        let guard = db.dlock(key).pinned().await.unwrap();
        let txn = match in_words {
            true => {
                guard.execute_unprepared("BEGIN").await.unwrap();
                assert!(guard.execute_unprepared("SELECT 1 / 0").await.is_err());
                None
            }
            false => {
                let txn = guard.begin().await.unwrap();
                assert!(txn.execute_unprepared("SELECT 1 / 0").await.is_err());
                Some(txn)
            }
        };
        timeout(Duration::from_secs(5), guard.release())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(server.holders(key).await, 0);
        drop(txn);
    }
}
