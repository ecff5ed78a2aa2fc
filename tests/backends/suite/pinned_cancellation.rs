//! Promise 2 for pinned locks: futures that are dropped at any await point leak no lock, no session and no place among the sessions.

use std::time::Duration;

use dlock::{DLockExt, LockPool};
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};

use super::cancellation::{CONNECTIONS, cut_short, nothing_is_left, repeat};
use super::{OrmBackend, Outcome, Scene, elapsed, eventually, in_one_of};

pub(crate) async fn cancelled_pinned_acquires_leak_nothing<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    leaks_nothing(scene, 600, |db, key| async move {
        cut_short(db.dlock(key).pinned().into_future()).await;
    })
    .await
}

/// Another pool has the lock half of the time.
pub(crate) async fn cancelled_pinned_waits_leak_nothing<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let theirs = scene.db("theirs").await;
    leaks_nothing(scene, 400, move |db, key| {
        let theirs = theirs.clone();
        async move {
            if fastrand::u8(..) < 64 {
                let held = theirs.dlock(key).timeout(Duration::from_millis(20)).await;
                tokio::task::yield_now().await;
                drop(held);
            }
            let limit = Duration::from_micros(fastrand::u64(..20_000));
            cut_short(db.dlock(key).pinned().timeout(limit).into_future()).await;
        }
    })
    .await
}

pub(crate) async fn cancelled_pinned_tries_leak_nothing<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    leaks_nothing(scene, 400, |db, key| async move {
        cut_short(db.dlock(key).pinned().try_acquire()).await;
    })
    .await
}

pub(crate) async fn cancelled_pinned_releases_leak_nothing<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    leaks_nothing(scene, 200, |db, key| async move {
        let guard = db.dlock(key).pinned().await.expect("the lock");
        cut_short(guard.release()).await;
    })
    .await
}

/// In statements and in transactions, too.
pub(crate) async fn cancelled_pinned_runs_leak_nothing<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    leaks_nothing(scene, 400, |db, key| async move {
        let run = db.dlock(key).pinned().run(async |guard| {
            guard.execute_unprepared("SELECT 1").await?;
            let txn = guard.begin().await?;
            txn.execute_unprepared("SELECT 1").await?;
            txn.commit().await?;
            Ok::<_, DbErr>(())
        });
        cut_short(run).await;
    })
    .await
}

/// Each on a lock pool of its own, with nothing open yet.
pub(crate) async fn cancelled_pinned_connects_leak_nothing<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    leaks_nothing(scene, 150, |db, key| async move {
        let pool = LockPool::builder(&db).build();
        cut_short(pool.dlock(key).pinned().into_future()).await;
    })
    .await
}

async fn leaks_nothing<B, F>(
    scene: &Scene<B>,
    times: usize,
    once: impl Fn(sea_orm::DatabaseConnection, i64) -> F + Send + Sync + 'static,
) -> Outcome
where
    B: OrmBackend,
    F: Future<Output = ()> + Send,
{
    let db = scene.db_of("ours", CONNECTIONS).await;
    let (keys, pool) = (scene.keys(4), LockPool::of(&db));
    repeat(&db, &keys, times, once).await;
    for key in &keys {
        scene.until_free(*key).await?;
    }
    eventually("no pinned session is left", async || {
        let status = pool.status();
        Ok((status.pinned_sessions, status.held, status.waiters) == (0, 0, 0))
    })
    .await?;
    let mut guards = Vec::new();
    eventually("there is room for four of them", async || {
        let got = db.dlock(keys[guards.len()]).pinned().try_acquire().await?;
        guards.extend(got);
        Ok(guards.len() == 4)
    })
    .await?;
    for guard in guards {
        guard.release().await?;
    }
    in_one_of(4, Duration::from_millis(250), async || {
        let (got, took) = elapsed(db.dlock(keys[0]).pinned().into_future()).await;
        got?.release().await?;
        Ok(took)
    })
    .await?;
    eventually("no pinned session is left", async || {
        Ok(pool.status().pinned_sessions == 0)
    })
    .await?;
    scene.until_sessions("ours", pool.status().sessions).await?;
    nothing_is_left(scene, &db, &keys).await
}
