//! When a lock is lost on these servers, and when it is not.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use dlock_tests::Way;
use tokio::time::{Instant, sleep};

use super::options::{options, with_hook};
use super::{Scene, Server};
use crate::suite::{Outcome, in_one_of, soon};

const GUARDS: usize = 200;

/// Promise 5.
pub(crate) async fn a_killed_session_is_reported_to_all_its_quiet_guards<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (db, application) = (scene.db("ours").await, scene.application("ours"));
    let mut raw = scene.raw().await?;
    in_one_of(3, Duration::from_secs(1), async || {
        let mut guards = Vec::new();
        for key in scene.keys(GUARDS) {
            guards.push(db.dlock(key).await?);
        }
        // Anywhere between two signs of life.
        sleep(Duration::from_millis(fastrand::u64(500..1000))).await;
        let session = raw.sessions(&application).await?;
        assert!(raw.kill("CONNECTION", &session.concat()).await);
        let killed = Instant::now();
        for guard in &guards {
            soon("the loss", guard.lost()).await?;
        }
        let took = killed.elapsed();
        for guard in guards {
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        }
        Ok(took)
    })
    .await
}

pub(crate) async fn settings_of_the_application_that_end_sessions_do_not_end_locks<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (limit, tenth) = S::STATEMENT_LIMIT;
    let hook = format!("SET SESSION wait_timeout = 1, {limit} = {tenth}");
    let db = with_hook(hook).connect_lazy_with(options(&scene.url("ours"))?);
    let idle = LockPool::builder(&db).build();
    idle.dlock(scene.key()).await?.release().await?;
    let guard = db.dlock(scene.key()).await?;
    tokio::select! {
        () = guard.lost() => panic!("lost"),
        () = sleep(Duration::from_secs(2)) => {}
    }
    guard.release().await?;
    idle.dlock(scene.key()).await?.release().await?;
    for pool in [idle, LockPool::of(&db)] {
        let counters = pool.status().counters;
        assert_eq!((counters.sessions_opened, counters.sessions_lost), (1, 0));
    }
    Ok(())
}

pub(crate) async fn an_operator_who_ends_statements_of_a_quiet_holder_does_not_end_its_lock<
    S: Server,
>(
    scene: &Scene<S>,
) -> Outcome {
    let (db, application) = (scene.db("ours").await, scene.application("ours"));
    let mut guards = Vec::new();
    for key in scene.keys(3) {
        guards.push(db.dlock(key).await?);
    }
    let mut raw = scene.raw().await?;
    let session = raw.sessions(&application).await?.concat();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1800) {
        raw.kill("QUERY", &session).await;
        sleep(Duration::from_millis(1)).await;
    }
    assert!(guards.iter().all(DLockGuard::is_held));
    for guard in guards {
        guard.release().await?;
    }
    assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 0);
    Ok(())
}

pub(crate) async fn a_process_that_is_stopped_for_a_while_keeps_its_lock<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (db, mut peer) = (scene.db("ours").await, scene.peer("peer").await?);
    let (key, wanted) = (scene.key(), scene.key());
    peer.hold(key, Way::PLAIN).await?;
    let held = db.dlock(wanted).await?;
    peer.wait_for(wanted).await?;
    peer.freeze().await?;
    sleep(Duration::from_secs(2)).await;
    assert!(db.dlock(key).try_acquire().await?.is_none());
    held.release().await?;
    assert_eq!(scene.held(&[key]).await?, 1);
    peer.thaw().await?;
    peer.expect("held").await?;
    peer.release(wanted).await?;
    peer.release(key).await
}
