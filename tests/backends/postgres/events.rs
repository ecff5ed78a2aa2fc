//! What dlock tells by `tracing`: a key in the field `key` and nowhere else, a password never.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use sea_orm::sqlx::postgres::PgPoolOptions;
use tokio::time::{Instant, sleep, timeout};
use tracing::Level;

use super::server::{PATIENCE, Server, application, name, options, sessions, url};
use crate::ear::Ear;
use crate::suite::waiting;

#[tokio::test]
async fn a_lock_that_is_acquired_is_told_with_its_key_and_its_wait() {
    let ear = Ear::open();
    let (ours, theirs) = (connect(&url(), 1).await, connect(&url(), 1).await);
    let key = name();
    let held = theirs.dlock(&key).await.unwrap();
    let first = ear.one("acquired");
    assert_eq!((first.level, first.field("key")), (Level::DEBUG, &*key));

    let waiter = tokio::spawn({
        let (ours, key) = (ours.clone(), key.clone());
        async move { ours.dlock(key).shared().timeout(PATIENCE).await }
    });
    waiting(&ours, 1).await.unwrap();
    let started = Instant::now();
    sleep(Duration::from_millis(100)).await;
    let waited = started.elapsed();
    held.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
    let told = ear.of("acquired");
    let [_, second] = &told[..] else {
        panic!("{told:#?}");
    };
    assert_eq!(second.field("key"), key);
    assert_eq!(first.field("mode"), "exclusive");
    assert_eq!(second.field("mode"), "shared");
    assert!(second.waited() >= waited, "{second:?}");
    assert!(second.waited() < PATIENCE, "{second:?}");
    ear.has_keys_in_their_field_only(&[&key]);
}

#[tokio::test]
async fn a_timeout_is_told_with_its_key_and_its_wait() {
    let ear = Ear::open();
    let (ours, theirs) = (connect(&url(), 1).await, connect(&url(), 1).await);
    let (key, limit) = (name(), Duration::from_millis(150));
    let held = theirs.dlock(&key).await.unwrap();
    let result = ours.dlock(&key).timeout(limit).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    let told = ear.one("timeout");
    assert_eq!((told.level, told.field("key")), (Level::DEBUG, &*key));
    assert!(told.waited() >= limit, "{told:?}");
    assert!(told.waited() < PATIENCE, "{told:?}");
    ear.one("acquired");
    held.release().await.unwrap();
    ear.has_keys_in_their_field_only(&[&key]);
}

#[tokio::test]
async fn a_session_is_told_when_it_opens_and_when_it_closes() {
    let ear = Ear::open();
    let password = name();
    let url = options(&url()).password(&password);
    let db = PgPoolOptions::new().connect_lazy_with(url);
    let pool = LockPool::builder(&db).build();
    let key = name();
    pool.dlock(&key).await.unwrap().release().await.unwrap();
    let opened = ear.one("session opened");
    assert!(ear.of("session closed").is_empty());
    pool.close().await;
    let closed = ear.one("session closed");
    assert_eq!(opened.field("session"), closed.field("session"));
    assert_eq!(
        opened.field("session"),
        ear.one("acquired").field("session")
    );
    assert_eq!((opened.level, closed.level), (Level::DEBUG, Level::DEBUG));
    ear.has_keys_in_their_field_only(&[&key]);
    ear.never_heard(&password);
}

#[tokio::test]
async fn a_session_that_is_lost_is_told_with_each_of_its_locks() {
    let ear = Ear::open();
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let keys = [name(), name()];
    let mut guards = Vec::new();
    for key in &keys {
        guards.push(db.dlock(key).await.unwrap());
    }
    let released = name();
    db.dlock(&released).await.unwrap().release().await.unwrap();
    let mut server = Server::main().await;
    let killed = format!(
        "(SELECT bool_and(pg_terminate_backend(pid)) FROM {})",
        sessions(&application)
    );
    assert!(server.is(&killed).await);
    for guard in &guards {
        timeout(PATIENCE, guard.lost()).await.unwrap();
    }
    let session = ear.one("session lost");
    assert_eq!(session.level, Level::WARN);
    session.field("error");
    let locks = ear.of("lock lost");
    let mut lost: Vec<&str> = locks.iter().map(|told| told.field("key")).collect();
    lost.sort_unstable();
    let mut held = keys.each_ref().map(String::as_str);
    held.sort_unstable();
    assert_eq!(lost, held);
    for lock in &locks {
        assert_eq!(lock.level, Level::WARN);
        assert_eq!(lock.field("session"), session.field("session"));
    }
    assert!(ear.of("session closed").is_empty());
    let [first, second] = held;
    ear.has_keys_in_their_field_only(&[first, second, &released]);
}

#[tokio::test]
async fn a_session_that_is_refused_is_told_with_the_cause() {
    let ear = Ear::open();
    let (role, password) = (name(), name());
    let stranger = options(&url()).username(&role).password(&password);
    let db = PgPoolOptions::new().connect_lazy_with(stranger);
    let key = name();
    let result = timeout(PATIENCE, db.dlock(&key)).await.unwrap();
    assert!(matches!(result, Err(Error::Database { .. })), "{result:?}");
    let told = ear.one("session refused");
    assert_eq!(told.level, Level::WARN);
    assert!(told.field("error").contains("connect"), "{told:?}");
    assert!(told.field("cause").contains(&role), "{told:?}");
    assert!(ear.of("acquired").is_empty());
    ear.has_keys_in_their_field_only(&[&key]);
    ear.never_heard(&password);
}

#[tokio::test]
async fn a_wait_of_more_than_ten_seconds_is_told_once() {
    let ear = Ear::open();
    let (ours, theirs) = (connect(&url(), 1).await, connect(&url(), 1).await);
    let (long, short) = (name(), name());
    let held = [
        theirs.dlock(&long).await.unwrap(),
        theirs.dlock(&short).await.unwrap(),
    ];
    let (ten, more) = (Duration::from_secs(10), Duration::from_millis(1500));
    let (after_all, too_long) = tokio::join!(
        ours.dlock(&short).timeout(ten - more).acquire(),
        ours.dlock(&long).timeout(ten + more).acquire(),
    );
    for result in [after_all, too_long] {
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    }
    let told = ear.one("still waiting for a lock");
    assert_eq!((told.level, told.field("key")), (Level::WARN, &*long));
    assert!(told.waited() >= ten, "{told:?}");
    assert!(told.waited() < ten + more, "{told:?}");
    for guard in held {
        guard.release().await.unwrap();
    }
    ear.has_keys_in_their_field_only(&[&long, &short]);
}
