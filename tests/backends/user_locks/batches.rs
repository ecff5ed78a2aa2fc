//! Tries and releases travel together in one statement. When it fails, nobody loses what he has, and nothing is left behind.

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use tokio::task::JoinSet;

use super::options::name;
use super::proxy::Sent;
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE};

/// The session holds one spelling of a name, and the other is tried for in a statement that fails: what is given back then is not the guard's.
pub(crate) async fn a_failing_statement_gives_no_lock_back_that_a_guard_holds<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = scene.raw().await?;
    let id = name();
    let guard = pool.dlock(format!("Key{id}")).await?;
    let session = raw.holder(&format!("Key{id}")).await?;
    proxy.interrupt(Sent::Prepared, 1);
    let other = pool.dlock(format!("key{id}")).try_acquire().await?;
    assert!(proxy.has_interrupted());
    if S::FOLDS_CASE {
        // Nobody can tell whose it is: the session has ended, and its guard heard of it before anybody else got the lock.
        assert!(!guard.is_held(), "beside {other:?}");
        let released = guard.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        return Ok(());
    }
    assert!(guard.is_held() && other.is_some());
    drop(other);
    pool.dlock(name()).await?.release().await?;
    assert_eq!(raw.holder(&format!("Key{id}")).await?, session);
    guard.release().await?;
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}

pub(crate) async fn what_an_interrupted_statement_asked_for_is_asked_again<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = scene.raw().await?;
    let held = pool.dlock(name()).await?;
    for width in 1..20 {
        let busy = name();
        raw.lock(&busy).await?;
        proxy.interrupt(Sent::Prepared, 1);
        let mut tries = JoinSet::new();
        for key in (1..width).map(|_| name()).chain([busy.clone()]) {
            let (pool, is_try) = (pool.clone(), key == busy || fastrand::bool());
            tries.spawn(async move {
                match is_try {
                    true => pool.dlock(key).try_acquire().await,
                    false => pool.dlock(key).timeout(PATIENCE).await.map(Some),
                }
            });
        }
        let mut guards = Vec::new();
        for tried in tries.join_all().await {
            guards.extend(tried?);
        }
        assert!(proxy.has_interrupted());
        assert_eq!(guards.len(), width - 1);
        raw.unlock(&busy).await?;
        for guard in guards {
            let name = guard.physical_key().to_string();
            assert!(!raw.gets(&name).await?);
            guard.release().await?;
            assert!(raw.can_lock(&name).await?);
        }
    }
    assert!(held.is_held());
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(held.release().await?)
}

/// What MySQL takes for one name is tried for by several spellings in one statement, which fails.
pub(crate) async fn of_spellings_in_a_failing_statement_one_is_granted<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    const SPELLINGS: [&str; 6] = ["key", "Key", "kEy", "keY", "KEy", "KEY"];
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = scene.raw().await?;
    pool.dlock(name()).await?.release().await?;
    for _ in 0..20 {
        let id = name();
        // The first may travel alone, the others together.
        proxy.interrupt(Sent::Prepared, 2);
        let mut tries = JoinSet::new();
        for spelling in SPELLINGS {
            let (pool, key) = (pool.clone(), format!("{spelling}{id}"));
            tries.spawn(async move { pool.dlock(key).try_acquire().await });
        }
        let mut guards = Vec::new();
        for tried in tries.join_all().await {
            guards.extend(tried?);
        }
        guards.retain(DLockGuard::is_held);
        match S::FOLDS_CASE {
            true => assert!(guards.len() <= 1, "{guards:?}"),
            false => assert_eq!(guards.len(), SPELLINGS.len()),
        }
        for guard in guards {
            guard.release().await?;
        }
        for spelling in SPELLINGS {
            raw.until_free(format!("{spelling}{id}")).await?;
        }
    }
    Ok(())
}

pub(crate) async fn interrupted_releases_are_done<S: Server>(scene: &Scene<S>) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = scene.raw().await?;
    let held = pool.dlock(name()).await?;
    for is_dropped in [false, true] {
        let key = name();
        let guard = pool.dlock(&key).await?;
        proxy.interrupt(Sent::Prepared, 1);
        match is_dropped {
            true => drop(guard),
            false => guard.release().await?,
        }
        raw.until_free(&key).await?;
        assert!(proxy.has_interrupted());
    }
    assert!(held.is_held());
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(held.release().await?)
}
