//! Which lock pool belongs to which connection, how long its sessions live, and what it shows of the server.

use std::time::Duration;

use dlock::{DLockExt, LockPool, Mode};
use dlock_tests::connect;

use super::server::{PATIENCE, Server, application, key, name, sessions, url, with};

#[tokio::test]
async fn clones_and_the_sqlx_pool_share_one_lock_pool() {
    let db = connect(&url(), 1).await;
    let clone = db.clone();
    let sqlx = db.get_postgres_connection_pool().clone();
    let guards = [
        db.dlock(key()).await.unwrap(),
        clone.dlock(key()).await.unwrap(),
        sqlx.dlock(key()).await.unwrap(),
    ];
    for status in [
        LockPool::of(&db).status(),
        LockPool::of(&clone).status(),
        LockPool::of(&sqlx).status(),
    ] {
        assert_eq!((status.held, status.sessions), (3, 1), "{status}");
    }
    let another = connect(&url(), 1).await;
    assert_eq!(LockPool::of(&another).status().held, 0);
    drop(guards);
}

#[tokio::test]
async fn an_installed_pool_replaces_the_one_before_which_ends_with_its_guards() {
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let (first, second) = (key(), key());
    let old = db.dlock(first).await.unwrap();
    let namespace = name();
    LockPool::builder(&db).namespace(&namespace).install();
    let new = db.dlock(second).await.unwrap();
    let text = format!("{namespace}:{second}");
    let apart = LockPool::builder(&db).build();
    assert!(apart.dlock(text).try_acquire().await.unwrap().is_none());
    assert_eq!(LockPool::of(&db).status().held, 1);
    apart.close().await;

    let mut server = Server::main().await;
    let count = |n| format!("(SELECT count(*) FROM {}) = {n}", sessions(&application));
    server.until(&count(2)).await;
    assert!(old.is_held());
    assert_eq!(server.holders(first).await, 1);
    old.release().await.unwrap();
    server.until(&count(1)).await;
    new.release().await.unwrap();
}

#[tokio::test]
async fn a_dropped_connection_takes_all_its_sessions_along() {
    let (url, application) = application(&url());
    let db = connect(&url, 2).await;
    let guard = db.dlock(key()).await.unwrap();
    let mut server = Server::main().await;
    let all = format!("pg_stat_activity WHERE application_name LIKE '{application}%'");
    assert_eq!(server.count(&all).await, 2);
    guard.release().await.unwrap();
    drop(db);
    let gone = format!("NOT EXISTS (SELECT FROM {all})");
    server.until(&gone).await;
}

#[tokio::test]
async fn a_dropped_connection_leaves_guards_their_locks() {
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let key = key();
    let guard = db.dlock(key).await.unwrap();
    drop(db);
    let mut server = Server::main().await;
    let all = format!("pg_stat_activity WHERE application_name LIKE '{application}%'");
    server
        .until(&format!("(SELECT count(*) FROM {all}) = 1"))
        .await;
    assert!(guard.is_held());
    assert_eq!(server.holders(key).await, 1);
    guard.release().await.unwrap();
    server
        .until(&format!("NOT EXISTS (SELECT FROM {all})"))
        .await;
}

#[tokio::test]
async fn an_idle_session_is_closed_and_the_next_lock_opens_another() {
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let short = Duration::from_millis(200);
    LockPool::builder(&db).idle_timeout(short).install();
    let mut server = Server::main().await;
    for opened in 1..=2 {
        let guard = db.dlock(key()).await.unwrap();
        assert_eq!(server.count(&sessions(&application)).await, 1);
        guard.release().await.unwrap();
        let gone = format!("NOT EXISTS (SELECT FROM {})", sessions(&application));
        server.until(&gone).await;
        let counters = LockPool::of(&db).status().counters;
        assert_eq!(counters.sessions_opened, opened);
        assert_eq!(counters.sessions_lost, 0);
    }
}

#[tokio::test]
async fn locks_are_listed_with_key_mode_and_holder_whoever_holds_them() {
    let (ours, theirs) = (name(), name());
    let db = connect(&with(&url(), "application_name", &ours), 1).await;
    let mut foreign = Server::at(&with(&url(), "application_name", &theirs)).await;
    let (a, b) = (fastrand::i32(..), fastrand::i32(..));
    let (wanted, text) = (key(), name());
    foreign.lock(wanted).await;
    let pid: i64 = foreign
        .ask("SELECT pg_backend_pid()")
        .await
        .parse()
        .unwrap();
    let reader = db.dlock(&text).shared().await.unwrap();
    let pair = db.dlock((a, b)).await.unwrap();
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).timeout(PATIENCE).await }
    });
    foreign.until_wanted(wanted, 1).await;

    let locks = LockPool::of(&db).locks().await.unwrap();
    let one = |find: &dyn Fn(&dlock::ServerLock) -> bool| {
        let mut found = locks.iter().filter(|lock| find(lock));
        let lock = found.next().expect("it is listed");
        assert!(found.next().is_none(), "{locks:?}");
        lock
    };
    let lock = one(&|lock| lock.key == *reader.physical_key());
    assert_eq!((lock.mode, lock.granted), (Mode::Shared, true));
    assert_eq!(lock.name, Some(text.into()));
    assert_eq!(lock.holder.application, format!("{ours} dlock"));
    let lock = one(&|lock| lock.key == *pair.physical_key());
    assert_eq!((lock.mode, lock.granted), (Mode::Exclusive, true));
    let lock = one(&|lock| lock.name == Some(wanted.into()) && lock.granted);
    assert_eq!(lock.holder.session, pid);
    assert_eq!(lock.holder.application, theirs);
    let lock = one(&|lock| lock.name == Some(wanted.into()) && !lock.granted);
    assert_eq!(lock.holder.application, format!("{ours} dlock"));

    foreign.unlock(wanted).await;
    let guard = waiter.await.unwrap().unwrap();
    guard.release().await.unwrap();
}
