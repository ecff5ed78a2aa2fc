//! What cannot work says why, promptly, and holds nothing.

use std::error::Error as _;
use std::time::Duration;

use dlock::{DLockExt, Error, Key, LockPool, Phase};
use dlock_tests::connect;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use tokio::time::Instant;

use super::server::{Server, key, name, options, url};

#[tokio::test]
async fn the_empty_key_is_invalid_in_every_form() {
    let db = connect(&url(), 1).await;
    let namespaced = LockPool::builder(&db).namespace("billing").build();
    let txn = db.begin().await.unwrap();
    let empty: [Key; 3] = ["".into(), String::new().into(), Vec::new().into()];
    for key in empty {
        let results = [
            db.dlock(&key).await.map(drop),
            db.dlock(&key).try_acquire().await.map(drop),
            namespaced.dlock(&key).await.map(drop),
            txn.dlock(&key).xact().await,
            txn.dlock(&key).xact().try_acquire().await.map(drop),
        ];
        for result in results {
            let Err(Error::InvalidKey { key, reason }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(key, "");
            assert!(reason.contains("empty"), "{reason}");
        }
    }
    txn.commit().await.unwrap();
    assert_eq!(LockPool::of(&db).status().counters.sessions_opened, 0);
}

#[tokio::test]
async fn a_setting_that_cannot_work_is_named_on_first_use() {
    let db = connect(&url(), 1).await;
    let builder = || LockPool::builder(&db);
    let cases = [
        (builder().max_sessions(0), "max_sessions(0)"),
        (builder().max_pinned_sessions(0), "max_pinned_sessions(0)"),
        (
            builder().max_locks_per_session(0),
            "max_locks_per_session(0)",
        ),
        (builder().keepalive(Duration::from_millis(99)), "keepalive"),
        (builder().namespace(""), "namespace"),
    ];
    for (builder, named) in cases {
        let result = builder.build().dlock(key()).await;
        let Err(Error::InvalidSetting { setting, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(setting.contains(named), "{setting}");
    }
    LockPool::builder(&db).max_sessions(0).install();
    let result = db.dlock(key()).try_acquire().await;
    assert!(
        matches!(result, Err(Error::InvalidSetting { .. })),
        "{result:?}"
    );
}

/// An application that has not connected yet.
fn lazy(url: &str) -> DatabaseConnection {
    PgPoolOptions::new().connect_lazy_with(options(url)).into()
}

/// The lock fails while connecting, and its sources say why.
async fn assert_cannot_connect(db: &DatabaseConnection, within: Duration, cause: &str) {
    let started = Instant::now();
    let error = db.dlock(key()).await.expect_err("it cannot connect");
    let took = started.elapsed();
    assert!(took < within, "{took:?}");
    let Error::Database { phase, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*phase, Phase::Connect);
    assert_eq!(error.to_string(), "database error during connect");
    let chain = chain(&error);
    assert!(chain.contains(cause), "{cause}: {chain}");
    let status = LockPool::of(db).status();
    assert_eq!((status.sessions, status.keys, status.waiters), (0, 0, 0));
}

fn chain(error: &Error) -> String {
    let mut chain = String::new();
    let mut next = error.source();
    while let Some(error) = next {
        chain += &format!("{error}; ");
        next = error.source();
    }
    chain
}

#[tokio::test]
async fn a_wrong_database_is_named() {
    let missing = name();
    let db: DatabaseConnection = PgPoolOptions::new()
        .connect_lazy_with(options(&url()).database(&missing))
        .into();
    assert_cannot_connect(&db, Duration::from_secs(5), &missing).await;
}

#[tokio::test]
async fn a_wrong_user_is_named() {
    let missing = name();
    let db: DatabaseConnection = PgPoolOptions::new()
        .connect_lazy_with(options(&url()).username(&missing))
        .into();
    assert_cannot_connect(&db, Duration::from_secs(5), &missing).await;
}

#[tokio::test]
async fn an_unreachable_server_is_given_up_after_seconds() {
    // Nothing listens on a port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let db = lazy(&format!("postgres://nobody@127.0.0.1:{port}/nothing"));
    assert_cannot_connect(&db, Duration::from_secs(10), "refused").await;
}

#[tokio::test]
async fn a_timeout_ends_the_wait_for_an_unreachable_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It accepts and never answers.
    let db = lazy(&format!("postgres://nobody@127.0.0.1:{port}/nothing"));
    let started = Instant::now();
    let timeout = Duration::from_millis(300);
    let result = db.dlock(key()).timeout(timeout).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    assert!(started.elapsed() >= timeout);
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_closed_connection_is_a_closed_pool() {
    let db = connect(&url(), 1).await;
    let (held, wanted) = (key(), key());
    let mut server = Server::main().await;
    server.lock(wanted).await;
    let guard = db.dlock(held).await.unwrap();
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).await }
    });
    let pool = LockPool::of(&db);
    while pool.status().waiters == 0 {
        tokio::task::yield_now().await;
    }
    db.clone().close().await.unwrap();
    let result = waiter.await.unwrap();
    assert!(matches!(result, Err(Error::PoolClosed)), "{result:?}");
    for result in [
        db.dlock(key()).await.map(drop),
        db.dlock(key()).try_acquire().await.map(drop),
        pool.dlock(key()).await.map(drop),
        pool.locks().await.map(drop),
    ] {
        assert!(matches!(result, Err(Error::PoolClosed)), "{result:?}");
    }
    // A guard keeps what it holds for as long as it lives.
    assert!(guard.is_held());
    assert_eq!(server.holders(held).await, 1);
    guard.release().await.unwrap();
    server.until_free(held).await;
}

#[tokio::test]
async fn a_connection_closed_before_the_first_lock_is_a_closed_pool() {
    let db = connect(&url(), 1).await;
    db.clone().close().await.unwrap();
    let result = db.dlock(key()).await;
    assert!(matches!(result, Err(Error::PoolClosed)), "{result:?}");
}

#[tokio::test]
async fn a_disconnected_connection_is_unsupported() {
    let db = DatabaseConnection::default();
    let result = db.dlock(key()).await;
    let Err(Error::Unsupported { hint, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(hint.contains("Database::connect"), "{hint}");
    assert_eq!(LockPool::of(&db).status(), dlock::Status::default());
}

#[tokio::test]
async fn a_database_error_stays_itself_as_dberr_and_others_keep_their_words() {
    let db = connect(&url(), 1).await;
    let txn = db.begin().await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(&txn, "SELECT 1 / 0")
        .await
        .unwrap_err();
    let error = txn.dlock(key()).xact().await.unwrap_err();
    let source = error.source().unwrap().to_string();
    assert!(
        source.contains("current transaction is aborted"),
        "{source}"
    );
    assert!(!error.to_string().contains(&source));
    let error = DbErr::from(error);
    assert!(
        matches!(error, DbErr::Query(_) | DbErr::Exec(_)),
        "{error:?}"
    );
    assert_eq!(error.to_string(), source);

    async fn through_dberr(db: &DatabaseConnection) -> Result<(), DbErr> {
        db.dlock("").await?.release().await?;
        Ok(())
    }
    let error = through_dberr(&db).await.unwrap_err();
    assert!(
        matches!(&error, DbErr::Custom(words) if words.contains("empty")),
        "{error}"
    );
}
