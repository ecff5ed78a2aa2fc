//! When a pinned lock counts as gone, and makes room: after a release, after a wait that is given up, when the pool closes.

use std::time::{Duration, Instant};

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::{Way, connect};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::time::sleep;

use super::at_work::Work;
use super::runtimes::Elsewhere;
use super::{Failure, OrmBackend, Outcome, Scene, elapsed, eventually, in_one_of, soon, waiting};

/// From the end of an idle session, or of the statement that has shown it.
const PROMPT: Duration = Duration::from_secs(1);

/// The session has ended when `release` returns.
pub(crate) async fn a_released_pinned_lock_makes_room_for_the_next<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let pool = LockPool::builder(&db).max_pinned_sessions(1).install();
    for _ in 0..20 {
        let guard = db.dlock(scene.key()).pinned().try_acquire().await?;
        let guard = guard.ok_or_else(|| Failure::new("there is no room, though nobody has one"))?;
        guard.release().await?;
    }
    let status = pool.status();
    assert_eq!((status.held, status.pinned_sessions), (0, 0), "{status}");
    Ok(())
}

/// Whatever does not listen.
pub(crate) async fn a_close_with_a_limit_ends_what_is_at_work_on_a_pinned_session<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let theirs = scene.db("theirs").await;
    let counter = scene.counter(&theirs).await?;
    for work in [Work::Transaction, Work::Statement] {
        let db = scene.db("ours").await;
        let guard = db.dlock(scene.key()).pinned().await?;
        let at_work = work.begin::<B>(&guard, &counter).await?;
        let pool = LockPool::of(&db);
        let limit = Duration::from_millis(100);
        let closing = soon("the end of the pool", pool.close_timeout(limit));
        let (closed, ()) = tokio::join!(closing, guard.lost());
        closed?;
        if B::LOSABLE {
            scene.until_sessions("ours", 0).await?;
            assert!(at_work.finish().await?.is_err(), "{work:?}");
            assert_eq!(counter.read(&theirs).await?, 0);
        } else {
            drop(at_work.finish().await?);
        }
        drop(guard);
    }
    Ok(soon("the table", counter.remove(&theirs)).await??)
}

/// The pool waits for its guards. One is idle, one is in a transaction.
pub(crate) async fn a_loss_is_reported_while_the_pool_closes<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    in_one_of(3, PROMPT, async || {
        let db = scene.db("ours").await;
        let idle = db.dlock(scene.key()).pinned().await?;
        let at_work = db.dlock(scene.key()).pinned().await?;
        let txn = at_work.begin().await?;
        let pool = LockPool::of(&db);
        let closing = tokio::spawn(async move { pool.close().await });
        eventually("the pool closes", async || {
            let refused = db.dlock(scene.key()).try_acquire().await;
            Ok(matches!(refused, Err(Error::PoolClosed)))
        })
        .await?;
        let start = Instant::now();
        scene.kill_sessions("ours").await?;
        assert!(txn.commit().await.is_err());
        for guard in [&idle, &at_work] {
            soon("the loss", guard.lost()).await?;
        }
        let took = start.elapsed();
        drop((idle, at_work));
        soon("the end of the pool", closing).await??;
        Ok(took)
    })
    .await
}

/// By the pool's status.
pub(crate) async fn a_waiter_for_a_pinned_lock_is_counted_once<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let pool = LockPool::of(&ours);
    let key = scene.key();
    let held = theirs.dlock(key).await?;
    let waiter = tokio::spawn({
        let ours = ours.clone();
        async move { ours.dlock(key).pinned().await }
    });
    eventually("it is asked for", async || {
        Ok(pool.status().pinned_sessions == 1)
    })
    .await?;
    for _ in 0..20 {
        assert_eq!(pool.status().waiters, 1);
        sleep(Duration::from_millis(10)).await;
    }
    held.release().await?;
    Ok(soon("the lock", waiter).await???.release().await?)
}

/// They have waited for so long that the server would be asked to wait for seconds.
pub(crate) async fn pinned_waits_that_are_given_up_make_room_at_once<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let (key, free) = (scene.key(), scene.key());
    let held = theirs.dlock(key).await?;
    in_one_of(2, Duration::from_secs(1), async || {
        let waiters = [(); 4].map(|()| {
            let ours = ours.clone();
            tokio::spawn(async move { ours.dlock(key).pinned().await })
        });
        eventually("all wait", async || {
            Ok(LockPool::of(&ours).status().waiters >= 4)
        })
        .await?;
        sleep(Duration::from_millis(2000)).await;
        for waiter in &waiters {
            waiter.abort();
        }
        let (got, took) = elapsed(Way::PINNED.acquire(&ours, free, super::PATIENCE)).await;
        got?.release().await?;
        for waiter in waiters {
            let given_up = waiter.await;
            if given_up.is_ok() {
                return Err(Failure::new("it got the lock"));
            }
        }
        Ok(took)
    })
    .await?;
    Ok(held.release().await?)
}

/// While the connection is on its way back to where the pool could end it. The guard is kept.
pub(crate) async fn a_runtime_that_ends_right_after_a_statement_frees_its_pinned_locks<
    B: OrmBackend,
>(
    scene: &Scene<B>,
) -> Outcome {
    let mut kept = Vec::new();
    for round in 0..20 {
        let (url, key) = (scene.url("ours"), scene.key());
        let guard = Elsewhere::start()?.end_after(async move {
            let db = connect(&url, 2).await;
            let guard = db.dlock(key).pinned().await?;
            if round % 2 == 0 {
                drop(guard.execute_unprepared("SELECT 1").await);
            }
            Ok(guard)
        })?;
        soon("the loss", guard.lost()).await?;
        scene.until_free(key).await?;
        kept.push(guard);
    }
    scene.until_sessions("ours", 0).await?;
    assert!(kept.iter().all(|guard| !guard.is_held()));
    Ok(())
}

/// Of which SeaORM and sqlx know nothing.
pub(crate) async fn a_transaction_begun_in_words_is_rolled_back_before_the_lock_is_free<
    B: OrmBackend,
>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db_of("theirs", 1).await);
    let counter = scene.counter(&ours).await?;
    theirs.execute_unprepared(B::IMPATIENCE).await?;
    let key = scene.key();
    for round in 0..20 {
        let guard = ours.dlock(key).pinned().await?;
        guard.execute_unprepared("BEGIN").await?;
        counter.write(&guard, 7).await?;
        let next = soon("the lock", theirs.dlock(key).into_future());
        let left = async {
            waiting(&theirs, 1).await?;
            match round % 2 {
                0 => guard.release().await?,
                _ => drop(guard),
            }
            Ok::<_, Failure>(())
        };
        let (next, left) = tokio::join!(next, left);
        left?;
        let next = next??;
        assert_eq!(counter.read(&theirs).await?, 0);
        // Whoever still held the row would show.
        let wrote = counter.write(&theirs, 0).await;
        next.release().await?;
        wrote?;
    }
    Ok(counter.remove(&ours).await?)
}
