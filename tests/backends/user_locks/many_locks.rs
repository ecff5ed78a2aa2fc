//! Many locks on few sessions.

use std::collections::{BTreeMap, HashSet};

use dlock::{DLockExt, DLockGuard, LockPool};
use tokio::task::JoinSet;

use super::options::name;
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE};

/// Takes so many locks at once.
async fn take(pool: &LockPool, locks: usize) -> Outcome<Vec<DLockGuard>> {
    let mut tasks = JoinSet::new();
    for _ in 0..locks {
        let pool = pool.clone();
        tasks.spawn(async move { pool.dlock(name()).timeout(PATIENCE).await });
    }
    let guards: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    Ok(guards?)
}

async fn release(guards: Vec<DLockGuard>) -> Outcome {
    let mut tasks = JoinSet::new();
    for guard in guards {
        tasks.spawn(guard.release());
    }
    for released in tasks.join_all().await {
        released?;
    }
    Ok(())
}

pub(crate) async fn two_thousand_locks_are_held_listed_and_released<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let pool = LockPool::builder(&db).max_sessions(4).build();
    let mut raw = scene.raw().await?;
    let guards = take(&pool, 2000).await?;
    let status = pool.status();
    assert_eq!(status.held, 2000, "{status}");
    assert!(status.sessions <= 4, "{status}");
    let ours: HashSet<_> = guards.iter().map(DLockGuard::physical_key).collect();
    let mut by_session = BTreeMap::<i64, usize>::new();
    for lock in pool.locks().await? {
        if ours.contains(&lock.key) {
            assert!(lock.granted && lock.name.is_some(), "{lock:?}");
            *by_session.entry(lock.holder.session).or_default() += 1;
        }
    }
    assert_eq!(by_session.values().sum::<usize>(), 2000, "{by_session:?}");
    assert_eq!(by_session.len(), status.sessions, "{by_session:?}");
    let name = |guard: &DLockGuard| guard.physical_key().to_string();
    let names: Vec<String> = guards.iter().map(name).collect();
    for name in names.iter().step_by(97) {
        assert!(!raw.gets(name).await?, "{name}");
    }
    assert!(guards.iter().all(DLockGuard::is_held));
    release(guards).await?;
    for name in names.iter().step_by(97) {
        assert!(raw.can_lock(name).await?, "{name}");
    }
    let status = pool.status();
    assert_eq!(
        (status.held, status.counters.sessions_lost),
        (0, 0),
        "{status}"
    );
    Ok(())
}

pub(crate) async fn five_hundred_tasks_at_once_share_one_session<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    for _ in 0..3 {
        let guards = take(&pool, 500).await?;
        let status = pool.status();
        assert_eq!((status.held, status.sessions), (500, 1), "{status}");
        release(guards).await?;
    }
    assert_eq!(pool.status().counters.sessions_opened, 1);
    Ok(())
}

/// One busy lock among many in a statement, at each place of it.
pub(crate) async fn busy_locks_among_many_are_told_apart<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = scene.raw().await?;
    for width in [1, 2, 3, 5, 8, 33, 300] {
        let keys: Vec<String> = (0..width).map(|_| name()).collect();
        let busy: Vec<&String> = keys.iter().step_by(3).collect();
        for key in &busy {
            raw.lock(key).await?;
        }
        let mut tries = JoinSet::new();
        for key in keys.clone() {
            let pool = pool.clone();
            tries.spawn(async move { (pool.dlock(&key).try_acquire().await, key) });
        }
        let mut guards = Vec::new();
        for (tried, key) in tries.join_all().await {
            let tried = tried?;
            assert_eq!(tried.is_none(), busy.contains(&&key), "{key} of {width}");
            guards.extend(tried);
        }
        for key in busy {
            raw.unlock(key).await?;
        }
        release(guards).await?;
        for key in &keys {
            assert!(raw.can_lock(key).await?, "{key} of {width}");
        }
    }
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}
