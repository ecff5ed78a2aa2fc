//! Promise 5: a lost session is reported to every guard on it, and to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dlock::{DLockExt, DLockGuard, Error, Lockable};
use dlock_tests::Db;
use tokio::task::{JoinHandle, JoinSet};

use super::{Backend, OrmBackend, Outcome, Scene, eventually, in_one_of, soon, waiting};

pub(crate) async fn a_killed_session_is_reported_to_its_guards<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let keys = scene.keys(3);
    in_one_of(3, Duration::from_secs(1), async || {
        let mut guards = Vec::new();
        for key in &keys {
            guards.push(db.dlock(*key).await?);
        }
        let start = Instant::now();
        scene.kill_sessions("ours").await?;
        for guard in &guards {
            soon("the loss", guard.lost()).await?;
            assert!(!guard.is_held());
        }
        let took = start.elapsed();
        for guard in guards {
            let key = guard.key().clone();
            let released = guard.release().await;
            assert!(
                matches!(&released, Err(Error::Lost { key: lost, .. }) if *lost == key),
                "{released:?}"
            );
        }
        Ok(took)
    })
    .await?;
    let again = soon("the lock", db.dlock(keys[0]).into_future()).await??;
    Ok(again.release().await?)
}

/// Tells that it was dropped.
pub(super) struct Flag(pub(super) Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub(crate) async fn a_body_is_dropped_when_its_lock_is_lost<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let (key, dropped) = (scene.key(), Arc::new(AtomicBool::new(false)));
    let ran = db.dlock(key).run(async |_lock| {
        let _flag = Flag(Arc::clone(&dropped));
        let killed = scene.kill_sessions("ours").await;
        killed.map_err(|error| sea_orm::DbErr::Custom(format!("{error:?}")))?;
        std::future::pending::<Result<(), sea_orm::DbErr>>().await
    });
    let ran = soon("the end of the body", ran).await?;
    assert!(dropped.load(Ordering::SeqCst));
    let error = ran.expect_err("the body never ends by itself").to_string();
    assert!(error.contains("lost"), "{error}");

    let ran = db.dlock(key).run(async |lock| {
        drop(scene.kill_sessions("ours").await);
        lock.lost().await;
        std::future::pending::<Result<(), Error>>().await
    });
    let ran = soon("the end of the body", ran).await?;
    assert!(matches!(ran, Err(Error::Lost { .. })), "{ran:?}");
    Ok(())
}

fn take_turn(db: &impl Db, key: i64) -> JoinHandle<Result<(), Error>> {
    let db = db.clone();
    tokio::spawn(async move { db.dlock(key).await?.release().await })
}

pub(crate) async fn waiters_behind_a_lost_lock_get_it_in_turn<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    let first = db.dlock(key).await?;
    let mut waiters = JoinSet::new();
    for _ in 0..5 {
        let db = db.clone();
        waiters.spawn(async move {
            let guard = db.dlock(key).await?;
            assert!(db.dlock(key).try_acquire().await?.is_none());
            guard.release().await
        });
    }
    waiting(&db, 5).await?;
    scene.kill_sessions("ours").await?;
    soon("the loss", first.lost()).await?;
    for released in soon("the waiters", waiters.join_all()).await? {
        released?;
    }
    Ok(())
}

pub(crate) async fn waiters_on_a_killed_session_queue_anew<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let held = theirs.dlock(key).await?;
    let waiters = [take_turn(&ours, key), take_turn(&ours, key)];
    let pool = ours.lock_pool();
    let stopped = || waiters.iter().any(JoinHandle::is_finished);
    let application = scene.application("ours");
    for round in 1..=3 {
        eventually("the server is asked, and the session killed", async || {
            let status = pool.status();
            let asked = status.counters.contended >= round && status.waiting_sessions == 1;
            let killed = asked && scene.backend.kill_sessions(&application).await? > 0;
            Ok(killed || stopped())
        })
        .await?;
    }
    held.release().await?;
    for waiter in waiters {
        soon("the lock", waiter).await???;
    }
    Ok(())
}

pub(crate) async fn a_stale_guard_cannot_release_a_newer_hold<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let dropped = ours.dlock(key).await?;
    scene.kill_sessions("ours").await?;
    soon("the loss", dropped.lost()).await?;
    let released = ours.dlock(key).await?;
    scene.kill_sessions("ours").await?;
    soon("the loss", released.lost()).await?;
    let newest = ours.dlock(key).await?;
    drop(dropped);
    let stale = released.release().await;
    assert!(matches!(stale, Err(Error::Lost { .. })), "{stale:?}");
    // Whatever they had sent would have come before this round trip.
    ours.dlock(scene.key()).await?.release().await?;
    assert_eq!(scene.held(&[key]).await?, 1);
    assert!(theirs.dlock(key).try_acquire().await?.is_none());
    assert!(newest.is_held());
    Ok(newest.release().await?)
}

pub(crate) async fn a_healthy_lock_is_never_reported_lost<B: Backend>(scene: &Scene<B>) -> Outcome {
    // A small keepalive, so that its pings come many times.
    let keepalive = Duration::from_millis(600);
    let shaped = scene.shaped("ours", |pool| pool.keepalive(keepalive));
    let (ours, theirs) = (shaped.await, scene.db("theirs").await);
    let mut guards = Vec::new();
    for key in scene.keys(10) {
        guards.push(ours.dlock(key).await?);
    }
    let busy = scene.key();
    let held = theirs.dlock(busy).await?;
    let activity = async {
        for round in 0..40_u64 {
            let limit = Duration::from_millis(round * 2);
            let got = ours.dlock(busy).timeout(limit).await;
            assert!(matches!(got, Err(Error::Timeout { .. })), "{got:?}");
            ours.dlock(scene.key()).await?.release().await?;
        }
        tokio::time::sleep(3 * keepalive).await;
        Ok::<_, super::Failure>(())
    };
    tokio::select! {
        () = guards[0].lost() => panic!("a healthy lock was reported lost"),
        done = activity => done?,
    }
    assert!(guards.iter().all(DLockGuard::is_held));
    for guard in guards {
        guard.release().await?;
    }
    assert_eq!(ours.lock_pool().status().counters.lost, 0);
    Ok(held.release().await?)
}

pub(crate) async fn a_transaction_rolls_back_when_its_lock_is_lost<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    let key = scene.key();
    let lost = db.dlock(key).transaction(async |txn| {
        counter.write(txn, 7).await?;
        drop(scene.kill_sessions("ours").await);
        std::future::pending::<Result<(), sea_orm::DbErr>>().await
    });
    let error = soon("the rollback", lost).await?.err();
    let error = error.expect("the body never ends by itself").to_string();
    assert!(error.contains("lost"), "{error}");
    assert_eq!(counter.read(&db).await?, 0);

    // Seen while the body is busy on the processor: the rollback comes in place of the COMMIT.
    let pool = db.lock_pool();
    let lost = db.dlock(key).transaction(async |txn| {
        counter.write(txn, 8).await?;
        let before = pool.status().counters.sessions_lost;
        drop(scene.kill_sessions("ours").await);
        tokio::task::block_in_place(|| {
            while pool.status().counters.sessions_lost == before {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok::<_, sea_orm::DbErr>(())
    });
    let error = soon("the rollback", lost).await?.err();
    let error = error
        .expect("the lock was lost before the COMMIT")
        .to_string();
    assert!(error.contains("lost"), "{error}");
    assert_eq!(counter.read(&db).await?, 0);
    counter.remove(&db).await?;
    Ok(())
}
