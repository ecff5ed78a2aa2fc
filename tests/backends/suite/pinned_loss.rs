//! Promise 5 for pinned locks: a lost session is reported, while it is idle or by the next statement
//! on it, and never comes back; a healthy one is not.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dlock::{DLockExt, Error, LockPool, PinnedGuard};
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::at_work::Work;
use super::loss::Flag;
use super::{Failure, OrmBackend, Outcome, Scene, in_one_of, soon};

/// From the end of the session, or of the statement that has shown it.
const PROMPT: Duration = Duration::from_secs(1);

/// An idle session at once, one at work by the next statement of its holder.
pub(crate) async fn a_killed_pinned_session_is_reported<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    let key = scene.key();
    for work in [None].into_iter().chain(Work::ALL.map(Some)) {
        in_one_of(3, PROMPT, async || {
            let guard = db.dlock(key).pinned().await?;
            let at_work = match work {
                Some(work) => Some(work.begin::<B>(&guard, &counter).await?),
                None => None,
            };
            let before = LockPool::of(&db).status().counters;
            let start = Instant::now();
            scene.kill_sessions("ours").await?;
            if let Some(at_work) = at_work {
                let finished = at_work.finish().await?;
                // Rows that the server had sent may have come.
                assert!(finished.is_err() || work == Some(Work::Stream), "{work:?}");
            }
            soon("the loss", guard.lost()).await?;
            let took = start.elapsed();
            assert!(!guard.is_held());
            assert!(guard.execute_unprepared("SELECT 1").await.is_err());
            let counters = LockPool::of(&db).status().counters;
            assert_eq!(counters.lost, before.lost + 1);
            let released = guard.release().await;
            assert!(
                matches!(&released, Err(Error::Lost { key: lost, .. }) if *lost == key.into()),
                "{released:?}"
            );
            Ok(took)
        })
        .await?;
    }
    assert_eq!(counter.read(&db).await?, 0);
    let again = soon("the lock", db.dlock(key).pinned().into_future()).await??;
    again.release().await?;
    Ok(counter.remove(&db).await?)
}

/// It works on the session no more, or asks for the loss itself.
pub(crate) async fn a_pinned_body_is_dropped_when_its_lock_is_lost<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    in_one_of(3, PROMPT, async || {
        let dropped = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let ran = db.dlock(key).pinned().run(async |guard| {
            let _flag = Flag(Arc::clone(&dropped));
            guard.execute_unprepared("SELECT 1").await?;
            kill(scene).await?;
            pending::<Result<(), DbErr>>().await
        });
        let ran = soon("the end of the body", ran).await?;
        let took = start.elapsed();
        assert!(dropped.load(Ordering::SeqCst));
        is_lost(&ran);
        Ok(took)
    })
    .await?;
    let ran = db.dlock(key).pinned().run(async |guard| {
        drop(scene.kill_sessions("ours").await);
        guard.lost().await;
        pending::<Result<(), Error>>().await
    });
    let ran = soon("the end of the body", ran).await?;
    assert!(matches!(ran, Err(Error::Lost { .. })), "{ran:?}");
    Ok(())
}

/// The statement may be COMMIT. One that fails within the transaction shows the loss when the
/// transaction is dropped.
pub(crate) async fn a_pinned_body_in_a_transaction_is_dropped_after_its_next_statement<
    B: OrmBackend,
>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    let key = scene.key();
    for commits in [true, false] {
        in_one_of(3, PROMPT, async || {
            let dropped = Arc::new(AtomicBool::new(false));
            let start = Instant::now();
            let ran = db.dlock(key).pinned().run(async |guard| {
                let _flag = Flag(Arc::clone(&dropped));
                let txn = guard.begin().await?;
                counter.write(&txn, 7).await?;
                kill(scene).await?;
                match commits {
                    true => assert!(txn.commit().await.is_err()),
                    false => {
                        assert!(counter.write(&txn, 8).await.is_err());
                        drop(txn);
                    }
                }
                pending::<Result<(), DbErr>>().await
            });
            let ran = soon("the end of the body", ran).await?;
            let took = start.elapsed();
            assert!(dropped.load(Ordering::SeqCst), "{commits}");
            is_lost(&ran);
            Ok(took)
        })
        .await?;
        assert_eq!(counter.read(&db).await?, 0);
    }
    Ok(counter.remove(&db).await?)
}

async fn kill<B: OrmBackend>(scene: &Scene<B>) -> Result<(), DbErr> {
    let killed = scene.kill_sessions("ours").await;
    killed.map_err(|error| DbErr::Custom(format!("{error:?}")))
}

/// The error of a body that was dropped, as SeaORM has it.
fn is_lost(ran: &Result<(), DbErr>) {
    let error = ran.as_ref().expect_err("the body never ends by itself");
    assert!(error.to_string().contains("lost"), "{error}");
}

/// Neither before it is known that the session is gone, nor later.
pub(crate) async fn a_lost_pinned_connection_never_comes_back<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    in_one_of(3, Duration::from_secs(2), async || {
        let guard = db.dlock(key).pinned().await?;
        scene.kill_sessions("ours").await?;
        let start = Instant::now();
        for _ in 0..100 {
            fails(&guard).await?;
        }
        let took = start.elapsed();
        soon("the loss", guard.lost()).await?;
        for _ in 0..100 {
            fails(&guard).await?;
        }
        scene
            .until_sessions("ours", LockPool::of(&db).status().sessions)
            .await?;
        scene.until_free(key).await?;
        let released = guard.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        Ok(took)
    })
    .await
}

async fn fails(guard: &PinnedGuard) -> Outcome {
    let statement = soon("an error", guard.execute_unprepared("SELECT 1")).await?;
    let transaction = soon("an error", guard.begin()).await?;
    match (statement, transaction) {
        (Err(_), Err(_)) => Ok(()),
        _ => Err(Failure::new("the connection came back")),
    }
}

/// In a long statement, in a transaction in which nothing happens, in many short statements of several tasks; for many times its keepalive.
pub(crate) async fn a_healthy_pinned_lock_is_never_reported_lost<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let pool = LockPool::builder(&db)
        .keepalive(Duration::from_secs(1))
        .install();
    let long = if B::LOSABLE { 5000 } else { 1500 };
    let slow = B::slow_statement(long).ok_or_else(|| Failure::new("no statement lasts"))?;
    let mut guards = Vec::new();
    for key in scene.keys(4) {
        guards.push(db.dlock(key).pinned().await?);
    }
    let [idle, statement, transaction, busy] = &guards[..] else {
        unreachable!("four keys");
    };
    let end = Instant::now() + Duration::from_millis(long.into());
    let mut tasks: JoinSet<Result<(), DbErr>> = JoinSet::new();
    let connection = (**statement).clone();
    tasks.spawn(async move { connection.execute_unprepared(&slow).await.map(drop) });
    let txn = transaction.begin().await?;
    for _ in 0..3 {
        let connection = (**busy).clone();
        tasks.spawn(async move {
            while Instant::now() < end {
                connection.execute_unprepared("SELECT 1").await?;
                let txn = connection.begin().await?;
                txn.execute_unprepared("SELECT 1").await?;
                drop(txn);
            }
            Ok(())
        });
    }
    let working = async {
        for done in tasks.join_all().await {
            done?;
        }
        sleep(end.saturating_duration_since(Instant::now())).await;
        Ok::<_, Failure>(())
    };
    tokio::select! {
        () = idle.lost() => panic!("the idle one was reported lost"),
        () = statement.lost() => panic!("the one in a statement was reported lost"),
        () = transaction.lost() => panic!("the one in a transaction was reported lost"),
        () = busy.lost() => panic!("the busy one was reported lost"),
        done = working => done?,
    }
    txn.commit().await?;
    let status = pool.status();
    assert_eq!((status.pinned_sessions, status.held), (4, 4), "{status}");
    for guard in guards {
        assert!(guard.is_held());
        guard.release().await?;
    }
    let counters = pool.status().counters;
    assert_eq!((counters.lost, counters.sessions_lost), (0, 0));
    Ok(())
}
