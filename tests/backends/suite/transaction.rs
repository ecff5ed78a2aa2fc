//! `.transaction(..)`: lock, BEGIN, body, COMMIT, unlock, in this order.

use std::sync::Arc;
use std::time::Duration;

use dlock::DLockExt;
use dlock_tests::{Counter, Guarded};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::{Failure, OrmBackend, Outcome, Scene, soon, waiting};

/// Whoever got the lock before the commit of the last one would read an old number.
pub(crate) async fn nobody_gets_the_lock_before_the_commit<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let counter = scene.counter(&ours).await?;
    // Where it can be done, a COMMIT lasts long enough for an early unlock to show.
    scene.backend.slow_commits(counter.table(), 2).await?;
    let guarded = Guarded::InTransaction(scene.key());
    let mut raising = JoinSet::new();
    for db in [ours.clone(), theirs] {
        let counter = counter.clone();
        raising.spawn(async move { counter.raise_in_tasks(&db, guarded, 4, 40).await });
    }
    for raised in raising.join_all().await {
        raised?;
    }
    assert_eq!(counter.read(&ours).await?, 320);
    Ok(counter.remove(&ours).await?)
}

/// On SQLite a transaction that has read cannot write any more when another one has written in between.
pub(crate) async fn bodies_under_different_keys_read_and_write_side_by_side<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let mut raising = JoinSet::new();
    for (number, db) in [ours, theirs].into_iter().enumerate() {
        let counter = Counter::named(&format!("{}_{number}", scene.name));
        let guarded = Guarded::InTransaction(scene.key());
        raising.spawn(async move {
            counter.create(&db).await?;
            counter.raise_in_tasks(&db, guarded, 2, 20).await?;
            let raised = counter.read(&db).await?;
            counter.remove(&db).await?;
            Ok::<_, DbErr>(raised)
        });
    }
    for raised in raising.join_all().await {
        assert_eq!(raised?, 40);
    }
    Ok(())
}

pub(crate) async fn a_failing_body_rolls_back<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    rolls_back(scene, async |db, counter, key| {
        let failed = db.dlock(key).transaction(async |txn| {
            counter.write(txn, 7).await?;
            Err::<(), _>(DbErr::Custom("part of the test".into()))
        });
        let error = failed.await.expect_err("the body fails");
        assert_eq!(error, DbErr::Custom("part of the test".into()));
        Ok(())
    })
    .await
}

pub(crate) async fn a_panicking_body_rolls_back<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    rolls_back(scene, async |db, counter, key| {
        let task = tokio::spawn(async move {
            let panicked = db.dlock(key).transaction(async |txn| {
                counter.write(txn, 7).await?;
                panic!("this panic is part of the test");
                #[allow(unreachable_code, reason = "it says what the body returns")]
                Ok::<(), DbErr>(())
            });
            panicked.await
        });
        assert!(task.await.is_err_and(|error| error.is_panic()));
        Ok(())
    })
    .await
}

pub(crate) async fn a_dropped_body_rolls_back<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    rolls_back(scene, async |db, counter, key| {
        let written = Notify::new();
        let body = db.dlock(key).transaction(async |txn| {
            counter.write(txn, 7).await?;
            written.notify_one();
            std::future::pending::<Result<(), DbErr>>().await
        });
        tokio::select! {
            _ = body => unreachable!("it never ends by itself"),
            () = written.notified() => Ok(()),
        }
    })
    .await
}

async fn rolls_back<B: OrmBackend>(
    scene: &Scene<B>,
    body: impl AsyncFnOnce(DatabaseConnection, Counter, i64) -> Outcome,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let counter = scene.counter(&ours).await?;
    let key = scene.key();
    body(ours.clone(), counter.clone(), key).await?;
    let guard = soon("the lock", theirs.dlock(key).into_future()).await??;
    assert_eq!(counter.read(&theirs).await?, 0);
    guard.release().await?;
    drop(ours);
    // Nothing is left of the transaction that could hold the table.
    Ok(soon("the table", counter.remove(&theirs)).await??)
}

pub(crate) async fn a_dropped_body_rolls_back_before_the_lock_is_free<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    rolls_back_before_the_unlock(scene, |task, _panic| task.abort()).await
}

pub(crate) async fn a_panicking_body_rolls_back_before_the_lock_is_free<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    rolls_back_before_the_unlock(scene, |_task, panic| panic.notify_one()).await
}

/// Whoever waits for the lock of a body that is made to leave finds the row that it has changed free at once.
async fn rolls_back_before_the_unlock<B: OrmBackend>(
    scene: &Scene<B>,
    leave: impl Fn(&JoinHandle<Result<(), DbErr>>, &Notify),
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db_of("theirs", 1).await);
    let counter = scene.counter(&ours).await?;
    let key = scene.key();
    theirs.execute_unprepared(B::IMPATIENCE).await?;
    // Between two statements an early unlock wins a race now and then; in the middle of one, always.
    let between = std::iter::repeat_n(None, 40);
    for statement in between.chain([B::slow_statement(1500)]) {
        let (written, panic) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let task = {
            let (db, counter) = (ours.clone(), counter.clone());
            let (written, panic) = (Arc::clone(&written), Arc::clone(&panic));
            tokio::spawn(async move {
                let body = db.dlock(key).transaction(async |txn| {
                    counter.write(txn, 7).await?;
                    let working = async {
                        if let Some(statement) = statement {
                            txn.execute_unprepared(&statement).await?;
                        }
                        std::future::pending().await
                    };
                    written.notify_one();
                    tokio::select! {
                        biased;
                        never = working => never,
                        () = panic.notified() => panic!("this panic is part of the test"),
                    }
                });
                body.await
            })
        };
        soon("the body", written.notified()).await?;
        let leaving = async {
            waiting(&theirs, 1).await?;
            leave(&task, &panic);
            Ok::<_, Failure>(())
        };
        let next = soon("the lock", theirs.dlock(key).into_future());
        let (guard, left) = tokio::join!(next, leaving);
        left?;
        let guard = guard??;
        counter.write(&theirs, 0).await?;
        guard.release().await?;
        assert!(soon("its end", task).await?.is_err());
    }
    Ok(soon("the table", counter.remove(&ours)).await??)
}

/// The caller goes away while COMMIT is on its way.
pub(crate) async fn a_commit_without_listener_still_comes_before_the_unlock<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let counter = scene.counter(&ours).await?;
    let key = scene.key();
    scene.backend.slow_commits(counter.table(), 150).await?;
    for round in 1..=12 {
        let written = Arc::new(Notify::new());
        let task = {
            let (db, counter, written) = (ours.clone(), counter.clone(), Arc::clone(&written));
            tokio::spawn(async move {
                let body = db.dlock(key).transaction(async |txn| {
                    counter.write(txn, round).await?;
                    written.notify_one();
                    Ok::<_, DbErr>(())
                });
                body.await
            })
        };
        written.notified().await;
        // Into the COMMIT, which lasts for 150 ms.
        tokio::time::sleep(Duration::from_millis(20 + fastrand::u64(..80))).await;
        task.abort();
        let guard = soon("the lock", theirs.dlock(key).into_future()).await??;
        assert_eq!(counter.read(&theirs).await?, round);
        guard.release().await?;
    }
    Ok(soon("the table", counter.remove(&theirs)).await??)
}
