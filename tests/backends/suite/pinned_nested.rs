//! Locks that are asked for on a pinned guard: they are those of the application.

use dlock::{DLockExt, Error, LockPool};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, TransactionTrait};

use super::{Failure, OrmBackend, Outcome, Scene, eventually, needed, soon};

pub(crate) async fn locks_on_a_pinned_guard_are_those_of_its_pool<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (db, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let namespace = scene.name.clone();
    let pool = LockPool::builder(&db).namespace(&namespace).install();
    let guard = db.dlock("outer").pinned().await?;
    assert_eq!(LockPool::of(&*guard).status(), pool.status());
    let inner = guard.dlock("inner").await?;
    let innermost = guard.dlock("innermost").pinned().await?;
    let last = innermost.dlock("last").await?;
    for key in ["outer", "inner", "innermost", "last"] {
        let text = format!("{namespace}:{key}");
        assert!(theirs.dlock(&text).try_acquire().await?.is_none(), "{key}");
        assert!(db.dlock(key).try_acquire().await?.is_none(), "{key}");
    }
    assert_eq!(pool.status().held, 4);
    assert_eq!(
        LockPool::of(&*guard).status().counters,
        pool.status().counters
    );
    last.release().await?;
    innermost.release().await?;
    // With a lock more or less, the guard and its connection are what they were.
    guard.execute_unprepared("SELECT 1").await?;
    guard.release().await?;
    assert!(inner.is_held());
    inner.release().await?;
    eventually("nothing is held", async || Ok(pool.status().held == 0)).await?;
    db.dlock("outer").pinned().await?.release().await?;
    Ok(())
}

pub(crate) async fn a_transaction_under_another_lock_commits_or_rolls_back<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    let (outer, inner) = (scene.key(), scene.key());
    let guard = db.dlock(outer).pinned().await?;
    let done = guard.dlock(inner).transaction(async |txn| {
        counter.write(txn, 5).await?;
        assert_eq!(counter.read(&db).await?, 0);
        Ok::<_, DbErr>(())
    });
    done.await?;
    assert_eq!(counter.read(&db).await?, 5);
    assert_eq!(scene.held(&[outer, inner]).await?, 1);
    let failed = guard.dlock(inner).transaction(async |txn| {
        counter.write(txn, 6).await?;
        Err::<(), _>(DbErr::Custom("part of the test".to_owned()))
    });
    assert!(failed.await.is_err());
    assert_eq!(counter.read(&guard).await?, 5);
    let ran = guard
        .dlock(inner)
        .run(async |_lock| counter.write(&guard, 7).await);
    ran.await?;
    guard.release().await?;
    assert_eq!(counter.read(&db).await?, 7);
    Ok(counter.remove(&db).await?)
}

pub(crate) async fn a_transaction_under_another_lock_is_on_the_pinned_session<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let guard = db.dlock(scene.key()).pinned().await?;
    let within = guard
        .dlock(scene.key())
        .transaction(async |txn| number::<B>(txn).await);
    assert_eq!(within.await?, number::<B>(&guard).await?);
    Ok(guard.release().await?)
}

async fn number<B: OrmBackend>(on: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let question = Statement::from_string(on.get_database_backend(), needed(B::SESSION));
    let row = on.query_one_raw(question).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("a number".to_owned()))?
        .try_get_by_index(0)
}

/// By its user.
pub(crate) async fn a_pinned_connection_that_is_closed_is_a_loss_to_nobody_else<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let (key, other) = (scene.key(), scene.key());
    let guard = db.dlock(key).pinned().await?;
    let nested = guard.dlock(other).await?;
    DatabaseConnection::clone(&guard).close().await?;
    let refused = guard.dlock(scene.key()).await;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    assert!(guard.execute_unprepared("SELECT 1").await.is_err());
    if B::LOSABLE {
        soon("the loss", guard.lost()).await?;
        let released = guard.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    } else {
        // The lock is in nobody's session.
        assert!(guard.is_held());
        guard.release().await?;
    }
    scene.until_free(key).await?;
    assert!(nested.is_held());
    db.execute_unprepared("SELECT 1").await?;
    let again = soon("the lock", db.dlock(key).pinned().into_future()).await??;
    again.release().await?;
    Ok(nested.release().await?)
}

/// However many guards there were, and whatever was asked for on them.
pub(crate) async fn nested_locks_keep_no_pool_alive<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    let mut copies = Vec::new();
    for round in 0..20 {
        let guard = db.dlock(scene.key()).pinned().await?;
        guard.dlock(scene.key()).await?.release().await?;
        copies.push((*guard).clone());
        match round % 2 {
            0 => guard.release().await?,
            _ => drop(guard),
        }
    }
    let last = db.dlock(scene.key()).pinned().await?;
    drop(db);
    eventually("the pool closes", async || {
        let refused = last.dlock(scene.key()).await;
        Ok(matches!(refused, Err(Error::PoolClosed)))
    })
    .await?;
    assert!(last.is_held());
    let txn = last.begin().await?;
    txn.execute_unprepared("SELECT 1").await?;
    txn.commit().await?;
    last.release().await?;
    scene.until_sessions("ours", 0).await?;
    for copy in copies {
        let refused = soon("an answer", copy.dlock(scene.key()).into_future()).await?;
        let refused = refused.err();
        let refused = refused.ok_or_else(|| Failure::new("a dead connection locks"))?;
        assert!(matches!(refused, Error::PoolClosed), "{refused:?}");
    }
    Ok(())
}
