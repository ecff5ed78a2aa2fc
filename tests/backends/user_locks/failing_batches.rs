//! Tries and releases travel together in one statement. When it fails, nobody loses what he has, and nothing is left behind.

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use tokio::task::JoinSet;

use super::Server;
use super::interrupter::Interrupter;
use super::raw::{Raw, name, url};
use crate::suite::{Failure, Outcome, PATIENCE, soon};

/// The session holds one spelling of a name, and the other is tried for in a statement that fails: what is given back then is not the guard's.
pub(crate) async fn a_failing_statement_gives_no_lock_back_that_a_guard_holds<S: Server>() -> Outcome
{
    let interrupter = Interrupter::before(&url::<S>()).await?;
    let db = connect(interrupter.url(), 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = Raw::on::<S>().await?;
    let id = name();
    let guard = pool.dlock(format!("Key{id}")).await?;
    let session = raw.holder(&format!("Key{id}")).await?;
    interrupter.interrupt(1);
    let other = pool.dlock(format!("key{id}")).try_acquire().await?;
    assert!(interrupter.is_done());
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

pub(crate) async fn interrupted_tries_are_tried_again<S: Server>() -> Outcome {
    let interrupter = Interrupter::before(&url::<S>()).await?;
    let db = connect(interrupter.url(), 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = Raw::on::<S>().await?;
    let held = pool.dlock(name()).await?;
    for width in 1..20 {
        let busy = name();
        raw.lock(&busy).await?;
        interrupter.interrupt(1);
        let mut tries = JoinSet::new();
        for key in (1..width).map(|_| name()).chain([busy.clone()]) {
            let pool = pool.clone();
            tries.spawn(async move { pool.dlock(key).try_acquire().await });
        }
        let mut guards = Vec::new();
        for tried in tries.join_all().await {
            guards.extend(tried?);
        }
        assert!(interrupter.is_done());
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

pub(crate) async fn interrupted_releases_are_done<S: Server>() -> Outcome {
    let interrupter = Interrupter::before(&url::<S>()).await?;
    let db = connect(interrupter.url(), 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = Raw::on::<S>().await?;
    let held = pool.dlock(name()).await?;
    for is_dropped in [false, true] {
        let key = name();
        let guard = pool.dlock(&key).await?;
        interrupter.interrupt(1);
        match is_dropped {
            true => drop(guard),
            false => guard.release().await?,
        }
        raw.until_free(&key).await?;
        assert!(interrupter.is_done());
    }
    assert!(held.is_held());
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(held.release().await?)
}

/// An operator who ends one statement after the other: a lock may be refused, or be lost and say so, but it has one holder and none is left behind.
pub(crate) async fn killed_statements_leave_no_lock_and_no_second_holder<S: Server>() -> Outcome {
    let db = connect(&url::<S>(), 1).await;
    let pool = LockPool::builder(&db).max_sessions(2).build();
    let (mut raw, mut operator) = (Raw::on::<S>().await?, Raw::on::<S>().await?);
    let anchor = pool.dlock(name()).await?;
    let session = raw.holder(&anchor.physical_key().to_string()).await?;
    let session = session.ok_or_else(|| Failure::new("nobody holds it"))?;
    let killing = tokio::spawn(async move {
        // Until the session itself is gone.
        while operator.run(&format!("KILL QUERY {session}")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let keys: Vec<String> = (0..10).map(|_| name()).collect();
    let mut tasks = JoinSet::new();
    for key in keys.iter().cycle().take(30) {
        let (pool, key) = (pool.clone(), key.clone());
        tasks.spawn(async move {
            let mut got = 0;
            for _ in 0..30 {
                match pool.dlock(&key).timeout(PATIENCE).await {
                    Ok(guard) => {
                        got += 1;
                        // Lost, or given back.
                        drop(guard.release().await);
                    }
                    Err(Error::Database { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(got)
        });
    }
    let mut got = 0;
    for task in soon("the load", tasks.join_all()).await? {
        got += task?;
    }
    killing.abort();
    assert!(got > 450, "{got} of 900");
    for key in &keys {
        raw.until_free(key).await?;
    }
    drop(anchor);
    Ok(())
}
