//! Promise 2: futures that are dropped at any await point leak nothing. 10,000 of them.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use dlock::{DLockExt, Lockable};
use dlock_tests::Db;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::statement::work;
use super::{
    Backend, Failure, OrmBackend, Outcome, Scene, elapsed, in_one_of, is_unsupported, soon,
};

const TASKS: usize = 8;
pub(super) const CONNECTIONS: u32 = 4;

pub(crate) async fn cancelled_acquires_leak_nothing<B: Backend>(scene: &Scene<B>) -> Outcome {
    leaks_nothing(scene, 3000, |db, key| async move {
        cut_short(db.dlock(key).into_future()).await;
    })
    .await
}

/// Another pool has the lock half of the time.
pub(crate) async fn cancelled_waits_leak_nothing<B: Backend>(scene: &Scene<B>) -> Outcome {
    let theirs = scene.db("theirs").await;
    leaks_nothing(scene, 2000, move |db, key| {
        let theirs = theirs.clone();
        async move {
            if fastrand::u8(..) < 64 {
                let held = theirs.dlock(key).timeout(Duration::from_millis(20)).await;
                tokio::task::yield_now().await;
                drop(held);
            }
            let limit = Duration::from_micros(fastrand::u64(..20_000));
            cut_short(db.dlock(key).timeout(limit).into_future()).await;
        }
    })
    .await
}

pub(crate) async fn cancelled_tries_leak_nothing<B: Backend>(scene: &Scene<B>) -> Outcome {
    leaks_nothing(scene, 1500, |db, key| async move {
        cut_short(db.dlock(key).try_acquire()).await;
    })
    .await
}

pub(crate) async fn cancelled_releases_leak_nothing<B: Backend>(scene: &Scene<B>) -> Outcome {
    leaks_nothing(scene, 1000, |db, key| async move {
        let guard = db.dlock(key).await.expect("the lock");
        cut_short(guard.release()).await;
    })
    .await
}

pub(crate) async fn cancelled_runs_leak_nothing<B: Backend>(scene: &Scene<B>) -> Outcome {
    leaks_nothing(scene, 1000, |db, key| async move {
        let run = db.dlock(key).run(async |_lock| {
            work(&db).await?;
            Ok::<_, DbErr>(())
        });
        cut_short(run).await;
    })
    .await
}

pub(crate) async fn cancelled_transactions_leak_nothing<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    leaks_nothing(scene, 700, |db, key| async move {
        let transaction = db.dlock(key).transaction(async |txn| {
            txn.execute_unprepared("SELECT 1").await?;
            Ok::<_, DbErr>(())
        });
        cut_short(transaction).await;
    })
    .await
}

/// In each of its statements: the transaction is usable afterwards, or rolled back as a whole.
pub(crate) async fn cancelled_transaction_locks_leak_nothing<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    if !B::XACT {
        let db = scene.db("ours").await;
        let txn = db.begin().await?;
        return is_unsupported(&txn.dlock(scene.key()).xact().await);
    }
    let theirs = scene.db("theirs").await;
    leaks_nothing(scene, 500, move |db, key| {
        let theirs = theirs.clone();
        async move {
            let held = match fastrand::u8(..) < 48 {
                true => theirs.dlock(key).try_acquire().await.expect("an answer"),
                false => None,
            };
            let txn = db.begin().await.expect("a transaction");
            let limit = Duration::from_micros(fastrand::u64(..20_000));
            cut_short(txn.dlock(key).xact().timeout(limit).into_future()).await;
            let usable = txn.execute_unprepared("SELECT 1").await;
            usable.expect("the transaction is usable");
            drop(held);
            txn.rollback().await.expect("a rollback");
        }
    })
    .await
}

/// Each on a lock pool of its own, which has no session yet.
pub(crate) async fn cancelled_connects_leak_nothing<B: Backend>(scene: &Scene<B>) -> Outcome {
    let url = scene.url("ours");
    leaks_nothing(scene, 300, move |db, key| {
        let url = url.clone();
        async move {
            let pool = db.builder(&url).build();
            cut_short(pool.dlock(key).into_future()).await;
        }
    })
    .await
}

async fn leaks_nothing<B, F>(
    scene: &Scene<B>,
    times: usize,
    once: impl Fn(B::Db, i64) -> F + Send + Sync + 'static,
) -> Outcome
where
    B: Backend,
    F: Future<Output = ()> + Send,
{
    let db = scene.db_of("ours", CONNECTIONS).await;
    let keys = scene.keys(4);
    repeat(&db, &keys, times, once).await;
    nothing_is_left(scene, &db, &keys).await
}

/// So many times, in a few tasks.
pub(super) async fn repeat<D, F>(
    db: &D,
    keys: &[i64],
    times: usize,
    once: impl Fn(D, i64) -> F + Send + Sync + 'static,
) where
    D: Db,
    F: Future<Output = ()> + Send,
{
    let once = Arc::new(once);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (db, keys, once) = (db.clone(), keys.to_vec(), Arc::clone(&once));
        tasks.spawn(async move {
            for round in 0..times / TASKS {
                once(db.clone(), keys[(task + round) % keys.len()]).await;
            }
        });
    }
    tasks.join_all().await;
}

pub(super) async fn nothing_is_left<B: Backend>(
    scene: &Scene<B>,
    db: &B::Db,
    keys: &[i64],
) -> Outcome {
    for key in keys {
        scene.until_free(*key).await?;
    }
    in_one_of(4, Duration::from_millis(200), async || {
        let (got, took) = elapsed(db.dlock(keys[0]).try_acquire()).await;
        got?.ok_or(Failure::new("somebody has it"))?
            .release()
            .await?;
        Ok(took)
    })
    .await?;
    scene.has_at_most(4, "ours").await?;
    let status = db.lock_pool().status();
    assert_eq!((status.held, status.waiters, status.keys), (0, 0, 0));
    match db.connection() {
        Some(db) => has_all_connections(db).await,
        None => Ok(()),
    }
}

async fn has_all_connections(db: &DatabaseConnection) -> Outcome {
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let txn = soon("a connection of the application's", db.begin()).await??;
        txn.execute_unprepared("SELECT 1").await?;
        all.push(txn);
    }
    for txn in all {
        txn.rollback().await?;
    }
    Ok(())
}

/// Polls it a few times, or for a short time, or to its end.
pub(super) async fn cut_short<T>(doing: impl Future<Output = T>) {
    let mut doing = pin!(doing);
    match fastrand::u8(..8) {
        0 => drop(doing.await),
        1..4 => {
            let limit = Duration::from_micros(fastrand::u64(..3000));
            drop(timeout(limit, doing).await);
        }
        _ => {
            for _ in 0..fastrand::u8(..6) {
                let poll =
                    std::future::poll_fn(|context| Poll::Ready(doing.as_mut().poll(context)));
                if poll.await.is_ready() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    }
}
