//! What a session makes of each status that the server can give to a wait.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool, Phase};

use super::statuses::doubtful;
use super::{Of, Scene, row, why};
use crate::suite::{Outcome, elapsed, soon};

/// Somebody else has the lock `k`.
async fn held() -> Outcome<(Scene, DLockGuard)> {
    let scene = Scene::open().await?;
    let guard = scene.pool("theirs").dlock("k").await?;
    Ok((scene, guard))
}

#[tokio::test]
async fn who_is_granted_it_at_once_or_after_waiting_holds_it() -> Outcome {
    for status in [0, 1] {
        let (scene, theirs) = held().await?;
        let pool = scene.pool("ours");
        scene.distort(Of::Wait, move |_| row(status));
        let waiter = tokio::spawn(async move { pool.dlock("k").await });
        scene.until_waiting("k", 1).await?;
        theirs.release().await?;
        let ours = soon("the lock", waiter).await???;
        assert_eq!(scene.asked(Of::Wait), 1);
        let holder = scene.holder("k").expect("it is held").session;
        assert!(ours.is_held() && scene.sessions("ours").contains(&holder));
        ours.release().await?;
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_is_not_granted_it_waits_until_his_own_timeout() -> Outcome {
    let (scene, theirs) = held().await?;
    let pool = scene.pool("ours");
    let limit = Duration::from_millis(700);
    let (waited, took) = elapsed(pool.dlock("k").timeout(limit)).await;
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    assert!(
        took >= limit && took < limit + Duration::from_secs(3),
        "{took:?}"
    );
    // Half a second, and what was left.
    assert_eq!(scene.asked(Of::Wait), 2);
    assert_eq!(pool.status().counters.sessions_lost, 0);
    theirs.release().await?;
    Ok(pool.dlock("k").await?.release().await?)
}

#[tokio::test]
async fn a_wait_that_would_close_a_circle_is_a_deadlock_and_its_session_is_used_on() -> Outcome {
    let (scene, theirs) = held().await?;
    let pool = scene.pool("ours");
    scene.say(Of::Wait, row(-3));
    let waited = soon("the error", pool.dlock("k")).await?;
    let Err(Error::Deadlock { key }) = waited else {
        panic!("{waited:?}");
    };
    assert_eq!(key, "k".into());
    is_as_good_as_before(&scene, theirs, &pool).await
}

/// The next wait is on the session of the last.
async fn is_as_good_as_before(scene: &Scene, theirs: DLockGuard, pool: &LockPool) -> Outcome {
    let waiter = pool.clone();
    let waiter = tokio::spawn(async move { waiter.dlock("k").await });
    scene.until_waiting("k", 1).await?;
    theirs.release().await?;
    soon("the lock", waiter).await???.release().await?;
    let counters = pool.status().counters;
    assert_eq!((counters.sessions_opened, counters.sessions_lost), (2, 0));
    assert_eq!(scene.asked(Of::Wait), 2);
    scene.is_left_clean().await
}

#[tokio::test]
async fn after_a_doubtful_answer_to_a_wait_the_asker_hears_it_and_the_session_is_dropped() -> Outcome
{
    for (reply, words) in doubtful() {
        let (scene, theirs) = held().await?;
        let pool = scene.pool("ours");
        let beside = pool.dlock("beside").await?;
        scene.say(Of::Wait, reply);
        let waited = soon(
            "the error",
            pool.dlock("k").timeout(Duration::from_secs(20)),
        )
        .await?;
        let said = why(Phase::Acquire, waited);
        assert!(said.contains(words), "{said}");
        // That which has waited ends; the other has its lock still.
        soon(
            "the end",
            scene
                .server
                .sessions()
                .until(|_| scene.sessions("ours").len() == 1),
        )
        .await?;
        let holder = scene.holder("beside").expect("it is held").session;
        assert_eq!(scene.sessions("ours"), [holder]);
        assert_eq!(scene.asked(Of::Wait), 1);
        theirs.release().await?;
        soon("the lock", pool.dlock("k")).await??.release().await?;
        beside.release().await?;
        assert_eq!(scene.asked(Of::Wait), 1);
        assert_eq!(pool.status().counters.sessions_lost, 1);
        scene.is_left_clean().await?;
    }
    Ok(())
}
