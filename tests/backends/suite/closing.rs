//! How a pool ends: nothing is unlocked while a guard says that it is held.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool, Lockable};
use dlock_tests::Db;
use tokio::task::JoinHandle;

use super::{Backend, OrmBackend, Outcome, Scene, elapsed, soon, waiting};

pub(crate) async fn a_closed_pool_refuses_at_once_and_waits_for_its_guards<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let (key, foreign) = (scene.key(), scene.key());
    let guard = ours.dlock(key).await?;
    let held = theirs.dlock(foreign).await?;
    let pool = ours.lock_pool();
    let queued: Vec<_> = [key, foreign].map(|key| wait(&pool, key)).into();
    waiting(&ours, 2).await?;
    let closing = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.close().await })
    };
    for queued in queued {
        let refused = soon("the refusal", queued).await??;
        assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    }
    let refused = ours.dlock(scene.key()).await;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    let refused = ours.dlock(scene.key()).try_acquire().await;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    assert!(guard.is_held() && !closing.is_finished());
    assert!(theirs.dlock(key).try_acquire().await?.is_none());
    guard.release().await?;
    soon("the end of the pool", closing).await??;
    scene.until_sessions("ours", 0).await?;
    Ok(held.release().await?)
}

fn wait(pool: &LockPool, key: i64) -> JoinHandle<Result<DLockGuard, Error>> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.dlock(key).await })
}

pub(crate) async fn a_close_with_a_limit_takes_the_locks_away<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    let keys = scene.keys(3);
    let guard = db.dlock(keys[0]).await?;
    let pool = db.lock_pool();
    let body = {
        let (pool, key) = (pool.clone(), keys[1]);
        tokio::spawn(async move {
            let body = pool
                .dlock(key)
                .run(async |_lock| std::future::pending::<Result<(), Error>>().await);
            body.await
        })
    };
    let transaction = db.connection().map(|db| {
        let (db, key, counter) = (db.clone(), keys[2], counter.clone());
        tokio::spawn(async move {
            let body = db.dlock(key).transaction(async |txn| {
                counter.write(txn, 7).await?;
                std::future::pending::<Result<(), sea_orm::DbErr>>().await
            });
            body.await
        })
    });
    let held = 2 + usize::from(transaction.is_some());
    super::eventually("all are held", async || Ok(pool.status().held == held)).await?;
    let limit = Duration::from_millis(300);
    let (closed, took) = elapsed(soon("the end of the pool", pool.close_timeout(limit))).await;
    closed?;
    assert!(took >= limit, "{took:?}");
    assert!(!guard.is_held());
    soon("the loss", guard.lost()).await?;
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    let body = soon("the end of the body", body).await??;
    assert!(matches!(body, Err(Error::Lost { .. })), "{body:?}");
    if let Some(transaction) = transaction {
        let transaction = soon("the end of the transaction", transaction).await??;
        assert!(transaction.is_err());
    }
    assert_eq!(counter.stands_at(&db).await?, 0);
    scene.until_sessions("ours", 0).await?;
    Ok(counter.remove(&db).await?)
}

pub(crate) async fn closing_the_connection_closes_its_lock_pool<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    db.dlock(key).await?.release().await?;
    scene.until_sessions("ours", 1).await?;
    let guard = db.dlock(key).await?;
    db.clone().close().await?;
    let refused = soon("the refusal", db.dlock(scene.key()).into_future()).await?;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    assert!(guard.is_held());
    assert_eq!(scene.held(&[key]).await?, 1);
    guard.release().await?;
    scene.until_sessions("ours", 0).await
}

pub(crate) async fn dropping_the_last_handle_closes_the_sessions<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    let pool = scene.builder("ours", &db).build();
    let guard = pool.dlock(key).await?;
    drop(pool.clone());
    assert!(pool.dlock(scene.key()).try_acquire().await?.is_some());
    drop(pool);
    assert!(guard.is_held());
    assert_eq!(scene.held(&[key]).await?, 1);
    drop(guard);
    scene.until_sessions("ours", 0).await?;

    // The same for the connection's own, with the last clone of the connection.
    let guard = db.dlock(key).await?;
    drop(db);
    assert!(guard.is_held());
    guard.release().await?;
    scene.until_sessions("ours", 0).await
}
