//! What a lock pool refuses, because locks there would exclude nobody: naming what it found and the way out, promptly, with nothing held.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::{connect, env};
use sea_orm::{DatabaseConnection, TransactionTrait};
use tokio::time::Instant;

use super::server::{PATIENCE, Server, key, name, sessions, url, with};

const PROMPT: Duration = Duration::from_secs(10);

/// Asserts that the lock is refused, for a try as for a wait. Returns what was found, and the way out.
async fn refused(db: &DatabaseConnection, key: i64) -> (String, &'static str) {
    let started = Instant::now();
    let result = db.dlock(key).await;
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    let tried = db.dlock(key).try_acquire().await;
    assert!(matches!(tried, Err(Error::Refused { .. })), "{tried:?}");
    let status = LockPool::of(db).status();
    assert_eq!((status.sessions, status.held), (0, 0));
    assert!(status.counters.sessions_refused > 0);
    match result {
        Err(Error::Refused { found, way_out, .. }) => (found.into_owned(), way_out),
        other => panic!("{other:?}"),
    }
}

async fn assert_pooler_is_refused(pooler: &str) {
    let db = connect(&env(pooler), 2).await;
    let key = key();
    let (found, hint) = refused(&db, key).await;
    assert!(found.contains("pooler"), "{found}");
    for way_out in [".sessions_from(", ".xact()", ".trust_session_pooling()"] {
        assert!(hint.contains(way_out), "{hint}");
    }
    let mut server = Server::main().await;
    assert_eq!(server.holders(key).await, 0);
    assert!(server.can_take(key).await);
}

#[tokio::test]
async fn a_transaction_pooler_is_refused() {
    assert_pooler_is_refused("DLOCK_TEST_PGBOUNCER_TRANSACTION_URL").await;
}

#[tokio::test]
async fn a_transaction_pooler_that_swallows_start_up_options_is_refused() {
    assert_pooler_is_refused("DLOCK_TEST_PGBOUNCER_IGNORE_URL").await;
}

#[tokio::test]
async fn a_session_pooler_is_refused_as_long_as_nobody_vouches_for_it() {
    assert_pooler_is_refused("DLOCK_TEST_PGBOUNCER_SESSION_URL").await;
}

#[tokio::test]
async fn a_session_pooler_that_is_trusted_locks() {
    let db = connect(&env("DLOCK_TEST_PGBOUNCER_SESSION_URL"), 2).await;
    let pool = LockPool::builder(&db).trust_session_pooling().install();
    let mut server = Server::main().await;
    let key = key();
    let guard = db.dlock(key).timeout(PATIENCE).await.unwrap();
    assert_eq!(server.holders(key).await, 1);
    assert!(!server.can_take(key).await);
    guard.release().await.unwrap();
    assert_eq!(server.holders(key).await, 0);

    // It waits, too, and what it holds when it is closed does not stay with the pooler's session.
    server.lock(key).await;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(key).timeout(PATIENCE).await }
    });
    server.until_wanted(key, 1).await;
    server.unlock(key).await;
    let guard = waiter.await.unwrap().unwrap();
    pool.close_timeout(Duration::ZERO).await;
    assert!(!guard.is_held());
    server.until_free(key).await;
}

/// An application behind the transaction pooler: it has to do without named statements, as every user of sqlx there.
async fn pooled() -> DatabaseConnection {
    let pooler = env("DLOCK_TEST_PGBOUNCER_TRANSACTION_URL");
    connect(&with(&pooler, "statement-cache-capacity", "0"), 2).await
}

#[tokio::test]
async fn behind_a_transaction_pooler_sessions_come_from_a_direct_connection() {
    let pooled = pooled().await;
    let application = name();
    let direct = connect(&with(&url(), "application_name", &application), 1).await;
    LockPool::builder(&pooled).sessions_from(&direct).install();
    let mut server = Server::main().await;
    let key = key();
    let guard = pooled.dlock(key).await.unwrap();
    assert_eq!(server.holders(key).await, 1);
    assert_eq!(server.count(&sessions(&application)).await, 1);
    guard.release().await.unwrap();

    // The body's own statements go through the pooler, and find the lock held.
    let locked = pooled
        .dlock(key)
        .transaction(async |txn| txn.dlock(key).xact().try_acquire().await)
        .await;
    assert!(!locked.unwrap());
    assert_eq!(server.holders(key).await, 0);

    // The pool of the direct connection itself is another one.
    assert_eq!(LockPool::of(&direct).status().counters.acquired, 0);
    assert_eq!(LockPool::of(&pooled).status().counters.acquired, 2);
}

#[tokio::test]
async fn a_transaction_lock_works_through_a_transaction_pooler() {
    let db = pooled().await;
    let mut server = Server::main().await;
    let key = key();
    let first = db.begin().await.unwrap();
    first.dlock(key).xact().await.unwrap();
    assert_eq!(server.holders(key).await, 1);
    let second = db.begin().await.unwrap();
    let short = Duration::from_millis(100);
    let result = second.dlock(key).xact().timeout(short).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    let (waited, ()) = tokio::join!(
        second.dlock(key).xact().timeout(PATIENCE).acquire(),
        async {
            server.until_wanted(key, 1).await;
            first.commit().await.unwrap();
        }
    );
    waited.unwrap();
    assert_eq!(server.holders(key).await, 1);
    second.rollback().await.unwrap();
    assert_eq!(server.holders(key).await, 0);
}

#[tokio::test]
async fn a_hot_standby_is_refused() {
    let standby = env("DLOCK_TEST_POSTGRES_STANDBY_URL");
    let db = connect(&standby, 1).await;
    let key = key();
    let (found, hint) = refused(&db, key).await;
    assert!(found.contains("standby"), "{found}");
    assert!(hint.contains("primary"), "{hint}");
    assert_eq!(Server::at(&standby).await.holders(key).await, 0);
}
