//! What refuses a session lock refuses a pinned one, in the same words; and a server that has no room.

use std::error::Error as _;
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::{connect, env};
use sea_orm::ConnectionTrait;
use sea_orm::sqlx::ConnectOptions;
use tokio::time::{Instant, timeout};

use super::limits::small_url;
use super::server::{
    PATIENCE, SMALL_SERVER, Server, application, key, name, options, sessions, url, with,
};

#[tokio::test]
async fn what_refuses_a_lock_refuses_a_pinned_one_in_the_same_words() {
    for server in [
        "DLOCK_TEST_PGBOUNCER_TRANSACTION_URL",
        "DLOCK_TEST_PGBOUNCER_IGNORE_URL",
        "DLOCK_TEST_PGBOUNCER_SESSION_URL",
        "DLOCK_TEST_POSTGRES_STANDBY_URL",
    ] {
        let db = connect(&env(server), 2).await;
        let key = key();
        let plain = db.dlock(key).await.expect_err("it is refused");
        let started = Instant::now();
        let pinned = db.dlock(key).pinned().await.expect_err("it is refused");
        let tried = db.dlock(key).pinned().try_acquire().await;
        assert!(started.elapsed() < Duration::from_secs(10), "{server}");
        assert!(matches!(pinned, Error::Refused { .. }), "{pinned:?}");
        assert_eq!(pinned.to_string(), plain.to_string());
        assert_eq!(
            tried.expect_err("it is refused").to_string(),
            plain.to_string()
        );
        let status = LockPool::of(&db).status();
        assert_eq!((status.pinned_sessions, status.held), (0, 0));
        assert_eq!(status.counters.sessions_refused, 3);
        assert_eq!(Server::main().await.holders(key).await, 0);
    }
}

#[tokio::test]
async fn behind_a_transaction_pooler_pinned_locks_come_from_a_direct_connection() {
    let pooler = env("DLOCK_TEST_PGBOUNCER_TRANSACTION_URL");
    let pooled = connect(&with(&pooler, "statement-cache-capacity", "0"), 2).await;
    let application = name();
    let direct = connect(&with(&url(), "application_name", &application), 1).await;
    LockPool::builder(&pooled).sessions_from(&direct).install();
    let key = key();
    let guard = pooled.dlock(key).pinned().await.unwrap();
    let mut server = Server::main().await;
    assert_eq!(server.holders(key).await, 1);
    assert_eq!(server.count(&sessions(&application)).await, 1);
    guard.execute_unprepared("SELECT 1").await.unwrap();
    guard.release().await.unwrap();
    assert_eq!(server.holders(key).await, 0);
}

/// The pooler's session is not the pool's to keep: it is given back without a lock.
#[tokio::test]
async fn a_session_pooler_that_is_trusted_pins() {
    let db = connect(&env("DLOCK_TEST_PGBOUNCER_SESSION_URL"), 2).await;
    LockPool::builder(&db).trust_session_pooling().install();
    let mut server = Server::main().await;
    for _ in 0..5 {
        let key = key();
        let guard = db.dlock(key).pinned().await.unwrap();
        assert_eq!(server.holders(key).await, 1);
        guard.execute_unprepared("SELECT 1").await.unwrap();
        drop(guard);
        server.until_free(key).await;
    }
}

#[tokio::test]
async fn a_full_server_refuses_a_pinned_lock_clearly_and_later_gives_it() {
    let _small = SMALL_SERVER.lock().await;
    let (url, application) = application(&small_url());
    let db = connect(&url, 1).await;
    // Shorter than the work under it.
    let pool = LockPool::builder(&db)
        .keepalive(Duration::from_secs(1))
        .install();
    let mut server = Server::at(&small_url()).await;
    let held = db.dlock(key()).pinned().await.unwrap();
    let mut others = Vec::new();
    while let Ok(connection) = options(&small_url()).connect().await {
        others.push(connection);
    }
    let wanted = key();
    let started = Instant::now();
    let full = timeout(PATIENCE, db.dlock(wanted).pinned()).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    let error = full.expect_err("there is no room");
    assert!(
        matches!(
            error,
            Error::Database {
                phase: Phase::Connect,
                ..
            }
        ),
        "{error:?}"
    );
    let cause = error.source().expect("a cause").to_string();
    assert!(cause.contains("too many clients"), "{cause}");
    assert_eq!(server.holders(wanted).await, 0);
    // The one that is there is as good as before, at work as well.
    let connection = (*held).clone();
    let long =
        tokio::spawn(async move { connection.execute_unprepared("SELECT pg_sleep(2)").await });
    tokio::select! {
        () = held.lost() => panic!("lost, since nobody else could be asked"),
        done = long => drop(done.unwrap().unwrap()),
    }
    drop(others);
    let guard = async {
        loop {
            if let Ok(guard) = db.dlock(wanted).pinned().await {
                return guard;
            }
        }
    };
    let guard = timeout(PATIENCE, guard).await.unwrap();
    assert_eq!(server.holders(wanted).await, 1);
    guard.release().await.unwrap();
    held.release().await.unwrap();
    pool.close().await;
    let gone = format!("NOT EXISTS (SELECT FROM {})", sessions(&application));
    server.until(&gone).await;
}
