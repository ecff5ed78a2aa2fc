//! How many sessions, how many locks on each, and what happens when the server has no more of either.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, Key, LockPool, Phase, PhysicalKey};
use dlock_tests::{connect, env};
use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::server::{PATIENCE, SMALL_SERVER, Server, key, name, options, url};
use crate::suite::eventually;

pub(super) fn small_url() -> String {
    env("DLOCK_TEST_POSTGRES_SMALL_URL")
}

/// Takes many keys at once.
async fn acquire_all(pool: &LockPool, keys: Vec<Key>) -> Vec<Result<DLockGuard, Error>> {
    let mut tasks = JoinSet::new();
    for key in keys {
        let pool = pool.clone();
        tasks.spawn(async move { pool.dlock(key).await });
    }
    tasks.join_all().await
}

fn keys(number: usize) -> Vec<Key> {
    (0..number).map(|_| key().into()).collect()
}

async fn release_all(guards: Vec<DLockGuard>) {
    for guard in guards {
        guard.release().await.expect("it was held");
    }
}

#[tokio::test]
async fn five_hundred_locks_at_once_travel_together_on_one_session() {
    let db = connect(&url(), 1).await;
    let pool = LockPool::of(&db);
    let guards = acquire_all(&pool, keys(500)).await;
    let guards: Vec<_> = guards.into_iter().map(Result::unwrap).collect();
    let status = pool.status();
    assert_eq!((status.sessions, status.held, status.keys), (1, 500, 500));
    assert_eq!(status.counters.sessions_opened, 1);
    let mut server = Server::main().await;
    for guard in guards.iter().step_by(100) {
        let PhysicalKey::Int(key) = *guard.physical_key() else {
            panic!("{guard:?}");
        };
        assert!(!server.can_take(key).await);
    }
    release_all(guards).await;
    assert_eq!(pool.status().held, 0);
}

#[tokio::test]
async fn a_session_takes_its_number_of_locks_before_the_next_is_opened() {
    let db = connect(&url(), 1).await;
    let builder = LockPool::builder(&db).max_sessions(8);
    let pool = builder.max_locks_per_session(10).build();
    let mut guards = Vec::new();
    for key in keys(35) {
        guards.push(pool.dlock(key).await.unwrap());
    }
    assert_eq!(pool.status().sessions, 4);
    let mut by_session = BTreeMap::<i64, usize>::new();
    for lock in pool.locks().await.unwrap() {
        if lock.name.is_some() {
            *by_session.entry(lock.holder.session).or_default() += 1;
        }
    }
    let mut loads: Vec<usize> = by_session.into_values().collect();
    loads.sort_unstable();
    assert_eq!(loads, [5, 10, 10, 10]);
    release_all(guards).await;
}

#[tokio::test]
async fn at_the_limit_of_sessions_they_take_more_locks() {
    let db = connect(&url(), 1).await;
    let builder = LockPool::builder(&db).max_sessions(2);
    let pool = builder.max_locks_per_session(3).build();
    let guards = acquire_all(&pool, keys(20)).await;
    let guards: Vec<_> = guards.into_iter().map(Result::unwrap).collect();
    let status = pool.status();
    assert_eq!((status.sessions, status.held), (2, 20), "{status}");
    release_all(guards).await;
}

/// Until the pool has so many sessions, of which so many wait on the server.
async fn until_sessions(pool: &LockPool, sessions: usize, waiting: usize) {
    let reached = async || {
        let status = pool.status();
        Ok((status.sessions, status.waiting_sessions) == (sessions, waiting))
    };
    let what = format!("{sessions} sessions, {waiting} of them waiting");
    eventually(&what, reached).await.expect("it comes");
}

#[tokio::test]
async fn the_listing_does_not_stand_behind_sessions_that_wait() {
    let db = connect(&url(), 1).await;
    let builder = LockPool::builder(&db).max_sessions(3);
    let pool = builder.idle_timeout(Duration::from_millis(100)).build();
    let mut server = Server::main().await;
    let wanted = [key(), key()];
    let mut waiting = JoinSet::new();
    for key in wanted {
        server.lock(key).await;
        let pool = pool.clone();
        waiting.spawn(async move { pool.dlock(key).timeout(PATIENCE).await?.release().await });
    }
    // The third, which asked for them, has nothing more to do and is closed.
    until_sessions(&pool, 2, 2).await;
    let started = Instant::now();
    for _ in 0..10 {
        let locks = pool.locks().await.unwrap();
        for key in wanted.map(PhysicalKey::Int) {
            assert!(locks.iter().any(|lock| lock.key == key && lock.granted));
        }
    }
    // Behind ten slices of a wait it would take more than twice as long.
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(pool.status().waiting_sessions, 2);
    for key in wanted {
        server.unlock(key).await;
    }
    for waited in waiting.join_all().await {
        waited.unwrap();
    }
}

#[tokio::test]
async fn when_the_server_is_full_the_sessions_there_are_carry_on() {
    let _small = SMALL_SERVER.lock().await;
    let db = connect(&small_url(), 1).await;
    let builder = LockPool::builder(&db).max_sessions(4);
    let pool = builder.max_locks_per_session(1).build();
    let held = pool.dlock(key()).await.unwrap();
    let mut server = Server::at(&small_url()).await;
    let mut others = Vec::new();
    let full = loop {
        match options(&small_url()).connect().await {
            Ok(connection) => others.push(connection),
            Err(error) => break error.to_string(),
        }
    };
    assert!(full.contains("too many clients"), "{full}");

    // A further key, one that another process holds, and a second one while the first waits.
    let further = pool.dlock(key()).timeout(PATIENCE).await.unwrap();
    let contended = [key(), key()];
    let mut waiting = JoinSet::new();
    for key in contended {
        server.lock(key).await;
        let pool = pool.clone();
        waiting.spawn(async move { pool.dlock(key).timeout(PATIENCE).await });
    }
    assert!(
        timeout(Duration::from_millis(500), waiting.join_next())
            .await
            .is_err()
    );
    for key in contended {
        server.unlock(key).await;
    }
    let waited = waiting.join_all().await;
    let waited: Vec<_> = waited.into_iter().map(Result::unwrap).collect();
    assert_eq!(pool.status().sessions, 1);
    assert!(held.is_held());

    // An application without any session hears why.
    let late = LockPool::builder(&db).build();
    let started = Instant::now();
    let error = late.dlock(key()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    let source = error.source().unwrap().to_string();
    assert!(source.contains("too many clients"), "{source}");
    assert!(matches!(
        error,
        Error::Database {
            phase: Phase::Connect,
            ..
        }
    ));

    // With room again it gets one, and the first pool its second.
    drop(others);
    server
        .until("(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') < 10")
        .await;
    let guard = late.dlock(key()).timeout(PATIENCE).await.unwrap();
    guard.release().await.unwrap();
    release_all(waited).await;
    further.release().await.unwrap();
    held.release().await.unwrap();
    late.close().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_greedy_applications_leave_a_small_server_usable() {
    let _small = SMALL_SERVER.lock().await;
    let mut server = Server::at(&small_url()).await;
    let role = name();
    server.run(&format!("CREATE ROLE {role} LOGIN")).await;
    let keys: Vec<i64> = (0..20).map(|_| key()).collect();
    let (mut applications, mut pools) = (Vec::new(), Vec::new());
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        // Its own connection is opened first, as an application's is.
        let application = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options(&small_url()).username(&role))
            .await
            .unwrap();
        let pool = LockPool::builder(&application).max_sessions(10).build();
        applications.push(application);
        for &key in &keys {
            let pool = pool.clone();
            tasks.spawn(async move {
                for _ in 0..5 {
                    let guard = pool.dlock(key).timeout(2 * PATIENCE).await?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    guard.release().await?;
                }
                Ok::<_, Error>(())
            });
        }
        pools.push(pool);
    }
    // Those whom three reserved places are for get in at any time.
    while !tasks.is_empty() {
        let mut visitor = Server::at(&small_url()).await;
        assert!(visitor.is("true").await);
        if let Ok(Some(ended)) = timeout(Duration::from_millis(50), tasks.join_next()).await {
            ended.unwrap().unwrap();
        }
    }
    for pool in pools {
        assert_eq!(pool.status().held, 0);
        pool.close().await;
    }
    for application in applications {
        application.close().await;
    }
    let gone = format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{role}')");
    server.until(&gone).await;
    server.run(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_full_lock_table_is_named_and_costs_no_lock_that_is_held() {
    let _small = SMALL_SERVER.lock().await;
    let db = connect(&small_url(), 1).await;
    let builder = LockPool::builder(&db).max_sessions(1);
    let pool = builder.max_locks_per_session(1_000_000).build();
    let mut guards = Vec::new();
    let mut refusal = None;
    while refusal.is_none() {
        assert!(guards.len() < 100_000, "the table is never full");
        for result in acquire_all(&pool, keys(500)).await {
            match result {
                Ok(guard) => guards.push(guard),
                Err(error) => refusal = Some(error),
            }
        }
    }
    let refusal = refusal.unwrap();
    assert!(
        matches!(
            refusal,
            Error::Database {
                phase: Phase::Acquire,
                ..
            }
        ),
        "{refusal:?}"
    );
    let source = refusal.source().unwrap().to_string();
    assert!(source.contains("max_locks_per_transaction"), "{source}");
    assert_eq!(guards.iter().filter(|guard| !guard.is_held()).count(), 0);
    assert_eq!(pool.status().counters.sessions_lost, 0);
    assert_eq!(pool.status().held, guards.len());

    // With some room, locks work as before.
    let rest = guards.split_off(200);
    release_all(guards).await;
    pool.dlock(key()).await.unwrap().release().await.unwrap();
    let mut server = Server::at(&small_url()).await;
    let held = server
        .count("pg_locks WHERE locktype = 'advisory' AND granted")
        .await;
    assert_eq!(held, i64::try_from(rest.len()).unwrap());
    drop(rest);
    pool.close().await;
}
