//! What a session makes of what the server says to an upgrade, and to the release after it.

use dlock::{DLockExt, DLockGuard, Error, LockPool, Mode, Phase};
use dlock_tds::Reply;

use super::statuses::doubtful;
use super::{Of, Scene, row, why};
use crate::suite::{Outcome, soon};

/// An update lock, whose upgrade is asked for by a wait.
async fn update_lock() -> Outcome<(Scene, LockPool, DLockGuard)> {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let guard = pool.dlock("k").update().await?;
    Ok((scene, pool, guard))
}

#[tokio::test]
async fn a_circle_is_a_deadlock_and_the_lock_is_held_still() -> Outcome {
    let (scene, pool, mut guard) = update_lock().await?;
    scene.say(Of::Wait, row(-3));
    let refused = guard.upgrade().await;
    let Err(Error::Deadlock { key }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(key, "k".into());
    is_as_good_as_before(&scene, &pool, guard).await
}

async fn is_as_good_as_before(scene: &Scene, pool: &LockPool, mut guard: DLockGuard) -> Outcome {
    assert!(guard.is_held());
    assert_eq!(guard.mode(), Mode::Update);
    guard.upgrade().await?;
    guard.release().await?;
    assert_eq!(pool.status().counters.sessions_lost, 0);
    scene.is_left_clean().await
}

#[tokio::test]
async fn after_a_doubtful_answer_the_lock_is_lost_with_its_session() -> Outcome {
    for (reply, words) in doubtful() {
        let (scene, pool, mut guard) = update_lock().await?;
        let session = scene.holder("k").expect("it is held").session;
        scene.say(Of::Wait, reply);
        let said = why(
            Phase::Acquire,
            soon("the error", guard.upgrade().acquire()).await?,
        );
        assert!(said.contains(words), "{said}");
        soon("the loss", guard.lost()).await?;
        scene.until_ended(session).await?;
        let upgraded = guard.upgrade().await;
        assert!(matches!(upgraded, Err(Error::Lost { .. })), "{upgraded:?}");
        assert_eq!(scene.asked(Of::Wait), 1);
        assert_eq!(pool.status().counters.sessions_lost, 1);
        pool.dlock("k").await?.release().await?;
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_upgrade_that_is_cut_off_is_a_loss() -> Outcome {
    for close in [dlock_tds::Close::Fin, dlock_tds::Close::Rst] {
        let (scene, pool, mut guard) = update_lock().await?;
        scene.distort(Of::Wait, move |_| Reply::Cut(close));
        let upgraded = soon("the loss", guard.upgrade().acquire()).await?;
        assert!(matches!(upgraded, Err(Error::Lost { .. })), "{upgraded:?}");
        scene.is_left_clean().await?;
        pool.dlock("k").await?.release().await?;
    }
    Ok(())
}

/// The server counts: an update lock and an exclusive one of the same name.
#[tokio::test]
async fn an_upgraded_lock_is_released_as_often_as_the_server_has_it() -> Outcome {
    let (scene, pool, mut guard) = update_lock().await?;
    guard.upgrade().await?;
    assert_eq!(scene.holder("k").map(|held| held.count), Some(2));
    guard.release().await?;
    assert_eq!(scene.locks().entries(), []);
    assert_eq!(scene.asked(Of::Release), 1);
    // What is not upgraded is released once.
    pool.dlock("k").update().await?.release().await?;
    let releases = scene.seen(Of::Release);
    let loops: Vec<bool> = releases
        .iter()
        .map(|request| request.sql.contains("WHILE"))
        .collect();
    assert_eq!(loops, [true, false]);
    assert_eq!(pool.status().counters.sessions_lost, 0);
    scene.is_left_clean().await
}

/// One that was given up and granted nevertheless counts, too.
#[tokio::test]
async fn an_upgrade_that_was_asked_for_twice_is_released_whole() -> Outcome {
    let (scene, pool, mut guard) = update_lock().await?;
    scene.distort(Of::Wait, |_| row(-1));
    soon("the upgrade", guard.upgrade().acquire()).await??;
    assert_eq!(scene.holder("k").map(|held| held.count), Some(3));
    guard.release().await?;
    assert_eq!(scene.locks().entries(), []);
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}

#[tokio::test]
async fn an_upgraded_lock_whose_release_fails_is_a_loss_and_its_session_is_dropped() -> Outcome {
    for status in [-999, -1, 7] {
        let (scene, pool, mut guard) = update_lock().await?;
        let session = scene.holder("k").expect("it is held").session;
        guard.upgrade().await?;
        // The server has it still.
        scene.say(Of::Release, row(status));
        let released = guard.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        scene.until_ended(session).await?;
        scene.is_left_clean().await?;
        pool.dlock("k").await?.release().await?;
        assert_eq!(pool.status().counters.sessions_lost, 1);
    }
    Ok(())
}

#[tokio::test]
async fn nobody_has_what_was_upgraded_when_its_session_has_ended() -> Outcome {
    let (scene, pool, mut guard) = update_lock().await?;
    guard.upgrade().await?;
    drop(guard);
    pool.close().await;
    assert_eq!(scene.locks().entries(), []);
    scene.until_left("ours").await?;
    Ok(())
}
