//! The sessions of a pool: how many, how long, and what it shows.

use std::time::Duration;

use dlock::{DLockExt, Error, Key, Lockable, Mode};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::task::JoinSet;

use super::statement::work;
use super::{Backend, OrmBackend, Outcome, Scene, eventually, soon, waiting};

pub(crate) async fn no_session_is_opened_before_the_first_use<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let pool = db.lock_pool();
    let built = scene.builder("ours", &db).build();
    let invalid = db.dlock("").await;
    assert!(
        matches!(invalid, Err(Error::InvalidKey { .. })),
        "{invalid:?}"
    );
    work(&db).await?;
    scene.has_at_most(0, "ours").await?;
    assert_eq!(pool.status().counters.sessions_opened, 0);
    assert_eq!(built.status().counters.sessions_opened, 0);
    let guard = db.dlock(scene.key()).await?;
    scene.until_sessions("ours", 1).await?;
    assert_eq!(pool.status().sessions, 1);
    Ok(guard.release().await?)
}

pub(crate) async fn idle_sessions_are_closed<B: Backend>(scene: &Scene<B>) -> Outcome {
    let idle = Duration::from_millis(300);
    let db = scene.shaped("ours", |pool| pool.idle_timeout(idle)).await;
    let pool = db.lock_pool();
    let guard = db.dlock(scene.key()).await?;
    tokio::time::sleep(3 * idle).await;
    assert!(guard.is_held());
    scene.until_sessions("ours", 1).await?;
    guard.release().await?;
    scene.until_sessions("ours", 0).await?;
    eventually("the pool has closed its session", async || {
        Ok(pool.status().counters.sessions_closed == 1)
    })
    .await?;
    assert_eq!(pool.status().sessions, 0);
    db.dlock(scene.key()).await?.release().await?;
    Ok(())
}

pub(crate) async fn contended_keys_do_not_exceed_the_sessions<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let shaped = scene.shaped("ours", |pool| pool.max_sessions(3));
    let (ours, theirs) = (shaped.await, scene.db("theirs").await);
    let pool = ours.lock_pool();
    let keys = scene.keys(20);
    let mut held = Vec::new();
    for key in &keys {
        held.push(theirs.dlock(*key).await?);
    }
    let mut waiters = JoinSet::new();
    for key in keys {
        let ours = ours.clone();
        waiters.spawn(async move { ours.dlock(key).await?.release().await });
    }
    waiting(&ours, 20).await?;
    eventually("the sessions are used", async || {
        let status = pool.status();
        Ok(status.sessions == 3 && status.waiting_sessions == 2)
    })
    .await?;
    for _ in 0..20 {
        scene.has_at_most(3, "ours").await?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Other keys are served meanwhile.
    let other = ours.dlock(scene.key()).into_future();
    soon("a free key", other).await??.release().await?;
    drop(held);
    for released in soon("the waiters", waiters.join_all()).await? {
        released?;
    }
    scene.has_at_most(3, "ours").await
}

/// The only session that may wait stands in vain for another key, and tasks elsewhere hand on this one.
pub(crate) async fn a_contended_key_has_its_turn<B: Backend>(scene: &Scene<B>) -> Outcome {
    let shaped = scene.shaped("ours", |pool| pool.max_sessions(2));
    let (ours, theirs) = (shaped.await, scene.db("theirs").await);
    let pool = ours.lock_pool();
    let (in_vain, busy) = (scene.key(), scene.key());
    let held = theirs.dlock(in_vain).await?;
    let mut waiter = JoinSet::new();
    waiter.spawn(async move { ours.dlock(in_vain).await });
    eventually("the session waits", async || {
        Ok(pool.status().waiting_sessions == 1)
    })
    .await?;
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let theirs = theirs.clone();
        tasks.spawn(async move {
            loop {
                let guard = theirs.dlock(busy).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(guard);
            }
        });
    }
    let guard = pool.dlock(busy).timeout(Duration::from_secs(20)).await?;
    guard.release().await?;
    tasks.shutdown().await;
    held.release().await?;
    for guard in soon("the waiter", waiter.join_all()).await? {
        guard?.release().await?;
    }
    Ok(())
}

pub(crate) async fn one_session_is_enough<B: Backend>(scene: &Scene<B>) -> Outcome {
    let shaped = scene.shaped("ours", |pool| pool.max_sessions(1));
    let (ours, theirs) = (shaped.await, scene.db("theirs").await);
    let pool = ours.lock_pool();
    let keys = scene.keys(3);
    let mut held = Vec::new();
    for key in &keys {
        held.push(theirs.dlock(*key).await?);
    }
    let mine = ours.dlock(scene.key()).await?;
    let mut waiters = JoinSet::new();
    for key in keys {
        let ours = ours.clone();
        waiters.spawn(async move { ours.dlock(key).await?.release().await });
    }
    waiting(&ours, 3).await?;
    drop(held);
    for released in soon("the waiters", waiters.join_all()).await? {
        released?;
    }
    assert_eq!(pool.status().counters.sessions_opened, 1);
    Ok(mine.release().await?)
}

/// Python's test_cross_transaction.
pub(crate) async fn locks_do_not_end_with_unrelated_transactions<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db_of("ours", 1).await, scene.db("theirs").await);
    let key = scene.key();
    ours.begin().await?.commit().await?;
    let guard = ours.dlock(key).await?;
    for commits in [true, false] {
        let txn = ours.begin().await?;
        txn.execute_unprepared("SELECT 1").await?;
        match commits {
            true => txn.commit().await?,
            false => txn.rollback().await?,
        }
        assert!(guard.is_held());
        assert!(theirs.dlock(key).try_acquire().await?.is_none());
    }
    guard.release().await?;
    assert!(theirs.dlock(key).try_acquire().await?.is_some());
    Ok(())
}

pub(crate) async fn the_status_counts_what_happens<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let pool = ours.lock_pool();
    let (key, other) = (scene.key(), scene.key());
    let held = theirs.dlock(other).await?;
    let guard = ours.dlock(key).await?;
    let limit = Duration::from_millis(20);
    assert!(ours.dlock(other).timeout(limit).await.is_err());
    assert!(ours.dlock(key).try_acquire().await?.is_none());
    let status = pool.status();
    assert_eq!((status.held, status.waiters), (1, 0));
    assert_eq!(status.counters.acquired, 1);
    assert_eq!(status.counters.timeouts, 1);
    assert!(status.counters.contended >= 1, "{status}");
    assert_eq!(status.counters.lost, 0);
    assert!((1..=4).contains(&status.sessions), "{status}");
    assert!(status.to_string().contains("1 held"), "{status}");
    guard.release().await?;
    held.release().await?;
    assert_eq!(pool.status().held, 0);
    // Another clone of the connection shows the same pool.
    let seen = ours.clone().lock_pool().status().counters;
    assert_eq!((seen.acquired, seen.timeouts), (1, 1));
    Ok(())
}

pub(crate) async fn the_listing_names_holders_and_waiters<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = format!("{} listed", scene.name);
    let guard = ours.dlock(&key).await?;
    let pool = ours.lock_pool();
    let listed = pool.locks().await?;
    let mine = listed.iter().find(|lock| lock.key == *guard.physical_key());
    let mine = mine.ok_or(super::Failure::new(format!("it is not listed: {listed:?}")))?;
    assert!(mine.granted);
    assert_eq!(mine.mode, Mode::Exclusive);
    assert_eq!(mine.name, Some(Key::from(key.as_str())));
    let holder = B::holder(&scene.application("ours"));
    assert_eq!(mine.holder.application, holder);
    let seen = theirs.lock_pool().locks().await?;
    let seen = seen.iter().find(|lock| lock.key == *guard.physical_key());
    match scene.backend.lists() {
        true => assert!(seen.is_some_and(|lock| lock.granted && lock.name.is_none())),
        false => assert!(seen.is_none(), "{seen:?}"),
    }
    guard.release().await?;
    let listed = pool.locks().await?;
    assert!(listed.iter().all(|lock| lock.key != mine.key));
    Ok(())
}
