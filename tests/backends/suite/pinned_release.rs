//! What a pinned lock ends with: nothing of the work outlives it, and nothing hangs.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::at_work::{Work, leave_at_work};
use super::{Failure, OrmBackend, Outcome, Scene, elapsed, in_one_of, soon};

pub(crate) async fn a_pinned_lock_released_while_its_connection_is_at_work_is_free<
    B: OrmBackend,
>(
    scene: &Scene<B>,
) -> Outcome {
    leave_at_work(scene, async |guard| {
        let released = soon("the release", guard.release()).await?;
        match (B::LOSABLE, &released) {
            (true, Ok(()))
            | (
                false,
                Err(Error::Database {
                    phase: Phase::Release,
                    ..
                }),
            ) => Ok(()),
            _ => Err(Failure::new(format!("{released:?}"))),
        }
    })
    .await
}

pub(crate) async fn work_that_a_release_has_ended_fails<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    for work in [Work::Transaction, Work::Statement] {
        let guard = db.dlock(scene.key()).pinned().await?;
        let at_work = work.begin::<B>(&guard, &counter).await?;
        soon("the release", guard.release()).await??;
        assert!(at_work.finish().await?.is_err(), "{work:?}");
    }
    assert_eq!(counter.read(&db).await?, 0);
    Ok(counter.remove(&db).await?)
}

/// The holder has sent nothing since then.
pub(crate) async fn a_release_at_work_reports_a_lock_that_was_lost_before<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let guard = ours.dlock(key).pinned().await?;
    let txn = guard.begin().await?;
    scene.kill_sessions("ours").await?;
    scene.until_free(key).await?;
    let next = theirs.dlock(key).try_acquire().await?;
    assert!(next.is_some());
    let released = soon("the release", guard.release()).await?;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    drop(txn);
    Ok(())
}

pub(crate) async fn a_copy_of_a_pinned_connection_ends_with_its_lock<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    for is_dropped in [false, true] {
        let key = scene.key();
        let guard = db.dlock(key).pinned().await?;
        let copy = (*guard).clone();
        copy.execute_unprepared("SELECT 1").await?;
        match is_dropped {
            true => drop(guard),
            false => guard.release().await?,
        }
        scene.until_free(key).await?;
        super::eventually("the copy is dead", async || {
            Ok(copy.execute_unprepared("SELECT 1").await.is_err())
        })
        .await?;
        let dies = async {
            for _ in 0..100 {
                assert!(copy.execute_unprepared("SELECT 1").await.is_err());
            }
            Ok(elapsed(copy.ping()).await)
        };
        let (pinged, _) = soon("a hundred errors", dies)
            .await?
            .map_err(|error: Failure| error)?;
        assert!(pinged.is_err());
        super::eventually("no pinned session is left", async || {
            Ok(LockPool::of(&db).status().pinned_sessions == 0)
        })
        .await?;
        scene
            .until_sessions("ours", LockPool::of(&db).status().sessions)
            .await?;
    }
    Ok(())
}

pub(crate) async fn a_thousand_pinned_locks_leave_no_session<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let pool = LockPool::of(&db);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (db, keys) = (db.clone(), scene.keys(2));
        tasks.spawn(async move {
            for round in 0..125 {
                let guard = db.dlock(keys[round % 2]).pinned().await?;
                match fastrand::u8(..3) {
                    0 => guard.release().await?,
                    1 => drop(guard.release()),
                    _ => drop(guard),
                }
            }
            Ok::<_, Error>(())
        });
    }
    for done in tasks.join_all().await {
        done?;
    }
    super::eventually("no pinned session is left", async || {
        Ok(pool.status().pinned_sessions == 0)
    })
    .await?;
    let status = pool.status();
    assert_eq!(status.counters.acquired, 1000, "{status}");
    assert_eq!(
        (status.counters.lost, status.counters.sessions_lost),
        (0, 0)
    );
    scene.until_sessions("ours", status.sessions).await?;
    in_one_of(4, Duration::from_millis(250), async || {
        let (got, took) = elapsed(db.dlock(scene.key()).pinned().into_future()).await;
        got?.release().await?;
        Ok(took)
    })
    .await
}
