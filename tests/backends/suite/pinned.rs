//! Pinned locks: the guard is the session.

use std::time::{Duration, Instant};

use dlock::{DLockExt, Error, LockPool};
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::{Backend, Outcome, Scene, in_one_of, soon};

pub(crate) async fn a_pinned_guard_is_a_connection_of_its_own<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let counter = scene.counter(&db).await?;
    // The application's only connection is taken.
    let busy = db.begin().await?;
    let guard = db.dlock(scene.key()).pinned().await?;
    counter.write(&guard, 7).await?;
    assert_eq!(counter.read(&guard).await?, 7);
    let txn = guard.begin().await?;
    counter.write(&txn, 8).await?;
    txn.rollback().await?;
    assert_eq!(counter.read(&guard).await?, 7);
    guard.release().await?;
    busy.rollback().await?;
    Ok(counter.remove(&db).await?)
}

pub(crate) async fn a_killed_pinned_session_is_reported<B: Backend>(scene: &Scene<B>) -> Outcome {
    if !B::LOSABLE {
        return Ok(());
    }
    let db = scene.db("ours").await;
    let key = scene.key();
    for at_work in [false, true] {
        in_one_of(3, Duration::from_millis(1500), async || {
            let guard = db.dlock(key).pinned().await?;
            let txn = match at_work {
                true => Some(guard.begin().await?),
                false => None,
            };
            let start = Instant::now();
            scene.kill_sessions("ours").await?;
            soon("the loss", guard.lost()).await?;
            let took = start.elapsed();
            assert!(!guard.is_held());
            assert!(guard.execute_unprepared("SELECT 1").await.is_err());
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
            drop(txn);
            Ok(took)
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn an_open_transaction_does_not_outlive_its_pinned_lock<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    let key = scene.key();
    let guard = db.dlock(key).pinned().await?;
    let txn = guard.begin().await?;
    counter.write(&txn, 9).await?;
    let released = soon("the release", guard.release()).await?;
    if B::LOSABLE {
        released?;
        let again = db.dlock(key).try_acquire().await?.expect("it is free");
        assert!(counter.write(&txn, 10).await.is_err());
        again.release().await?;
    } else {
        assert!(
            matches!(released, Err(Error::Database { .. })),
            "{released:?}"
        );
        assert!(db.dlock(key).try_acquire().await?.is_none());
        txn.rollback().await?;
        soon("the lock", db.dlock(key).into_future())
            .await??
            .release()
            .await?;
    }
    assert_eq!(counter.read(&db).await?, 0);
    Ok(counter.remove(&db).await?)
}

pub(crate) async fn pinned_locks_wait_for_their_turn<B: Backend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    let pool = LockPool::builder(&db).max_pinned_sessions(1).install();
    let keys = scene.keys(2);
    let first = db.dlock(keys[0]).pinned().await?;
    assert!(db.dlock(keys[1]).pinned().try_acquire().await?.is_none());
    let limit = Duration::from_millis(200);
    let late = db.dlock(keys[1]).pinned().timeout(limit).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let second = tokio::spawn({
        let (db, key) = (db.clone(), keys[1]);
        async move { db.dlock(key).pinned().await }
    });
    super::waiting(&db, 1).await?;
    assert_eq!(pool.status().pinned_sessions, 1);
    first.release().await?;
    let second = soon("the turn", second).await?;
    second??.release().await?;
    pool.close().await;
    Ok(())
}
