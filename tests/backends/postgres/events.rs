//! What dlock tells by `tracing`: a key in the field `key` and nowhere else, a password never.

use std::time::Duration;

use dlock::{DLockExt, Error, HeldBy, LockPool, Phase};
use dlock_tests::connect;
use sea_orm::TransactionTrait;
use sea_orm::sqlx::postgres::PgPoolOptions;
use tokio::runtime;
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

/// A try that is only asked whether it is there holds its lock for a moment, which the log shows.
#[tokio::test]
async fn a_release_is_told_with_the_time_that_the_lock_was_held() {
    let ear = Ear::open();
    let db = connect(&url(), 1).await;
    let (short, long, pinned) = (name(), name(), name());
    assert!(db.dlock(&short).try_acquire().await.unwrap().is_some());
    let guard = db.dlock(&long).await.unwrap();
    let held = Duration::from_millis(100);
    sleep(held).await;
    guard.release().await.unwrap();
    drop(db.dlock(&pinned).pinned().await.unwrap());
    let acquired = ear.of("acquired");
    let released = ear.of("released");
    assert_eq!(released.len(), 3, "{released:#?}");
    for (released, key) in released.iter().zip([&short, &long, &pinned]) {
        assert_eq!(
            (released.level, released.field("key")),
            (Level::DEBUG, &**key)
        );
        let mut acquired = acquired.iter();
        let acquired = acquired
            .find(|acquired| acquired.field("key") == key)
            .unwrap();
        assert_eq!(released.field("session"), acquired.field("session"));
        assert_eq!(released.field("mode"), "exclusive");
    }
    assert!(released[0].duration("held") < held, "{released:#?}");
    assert!(released[1].duration("held") >= held, "{released:#?}");
    ear.has_keys_in_their_field_only(&[&short, &long, &pinned]);
}

#[test]
fn a_runtime_that_ends_is_told_once_with_the_number_of_its_locks() {
    let ear = Ear::open();
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap();
    let (guards, pinned) = runtime.block_on(async {
        let db = connect(&url(), 1).await;
        let guards = [
            db.dlock(name()).await.unwrap(),
            db.dlock(name()).await.unwrap(),
        ];
        (guards, db.dlock(name()).pinned().await.unwrap())
    });
    drop(runtime);
    let told = ear.beginning("locks were lost with the tokio runtime");
    let [told] = &told[..] else {
        panic!("{told:#?}");
    };
    assert_eq!((told.level, told.field("locks")), (Level::WARN, "3"));
    assert!(
        told.field("message")
            .contains("`LockPoolBuilder::runtime(handle)`")
    );
    assert!(guards.iter().all(|guard| !guard.is_held()) && !pinned.is_held());
    drop((guards, pinned));
    assert_eq!(ear.of("released").len(), 0);
}

#[tokio::test]
async fn a_session_is_told_by_the_number_that_the_listing_shows() {
    let ear = Ear::open();
    let db = connect(&url(), 1).await;
    let key = name();
    let guard = db.dlock(&key).await.unwrap();
    let locks = LockPool::of(&db).locks().await.unwrap();
    let ours = locks.iter().find(|lock| lock.key == *guard.physical_key());
    let session = ours.unwrap().holder.session.to_string();
    for message in ["session opened", "acquired"] {
        assert_eq!(ear.one(message).field("session"), session, "{message}");
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_lock_of_a_transaction_is_told_like_all_others() {
    let ear = Ear::open();
    let db = connect(&url(), 2).await;
    let key = name();
    let txn = db.begin().await.unwrap();
    txn.dlock(&key).xact().await.unwrap();
    let told = ear.one("acquired");
    assert_eq!((told.level, told.field("key")), (Level::DEBUG, &*key));
    let other = db.begin().await.unwrap();
    let limit = Duration::from_millis(150);
    let result = other.dlock(&key).shared().xact().timeout(limit).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    let told = ear.one("timeout");
    assert_eq!((told.field("key"), told.field("mode")), (&*key, "shared"));
    assert!(told.waited() >= limit, "{told:?}");
    ear.has_keys_in_their_field_only(&[&key]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_while_it_is_waited_for() {
    let ear = Ear::open();
    let nowhere = options("postgres://stranger@127.0.0.1:9/missing");
    let db = PgPoolOptions::new().connect_lazy_with(nowhere);
    for pinned in [false, true] {
        let lock = db.dlock(name()).timeout(Duration::from_secs(1));
        let started = Instant::now();
        let result = match pinned {
            false => lock.await.map(drop),
            true => lock.pinned().await.map(drop),
        };
        let Err(Error::Database { phase, source }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(phase, Phase::Connect);
        assert!(source.to_string().contains("refused"), "{source}");
        assert!(started.elapsed() < Duration::from_secs(3));
        let told = ear.of("the server cannot be reached; trying again");
        assert!(
            !told.is_empty() && told.len() <= 1 + usize::from(pinned),
            "{told:#?}"
        );
        assert_eq!(told[0].level, Level::WARN);
        assert!(told[0].field("cause").contains("refused"), "{told:#?}");
    }
}

#[tokio::test]
async fn a_timeout_of_more_than_a_second_names_the_session_that_holds_the_lock() {
    let (theirs_url, application) = application(&url());
    let (ours, theirs) = (connect(&url(), 1).await, connect(&theirs_url, 1).await);
    let key = name();
    let held = theirs.dlock(&key).await.unwrap();
    let limit = Duration::from_secs(3);
    let error = ours.dlock(&key).timeout(limit).await.unwrap_err();
    let Error::Timeout {
        held_by: Some(HeldBy::Session(holder)),
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(holder.application, format!("{application} dlock"));
    let locks = LockPool::of(&theirs).locks().await.unwrap();
    let lock = locks.iter().find(|lock| lock.key == *held.physical_key());
    assert_eq!(holder.session, lock.unwrap().holder.session);
    let text = format!("held by session {} ({application} dlock)", holder.session);
    assert!(error.to_string().contains(&text), "{error}");
    held.release().await.unwrap();
}

#[tokio::test]
async fn a_wait_of_more_than_ten_seconds_is_told_once() {
    let ear = Ear::open();
    let (theirs_url, application) = application(&url());
    let (ours, theirs) = (connect(&url(), 1).await, connect(&theirs_url, 1).await);
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
    assert!(told.field("held_by").contains(&application), "{told:?}");
    for guard in held {
        guard.release().await.unwrap();
    }
    ear.has_keys_in_their_field_only(&[&long, &short]);
}
