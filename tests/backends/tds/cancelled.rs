//! Who stops waiting for a lock, at any point, leaves nothing behind.

use std::pin::pin;
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use dlock_tds::Reply;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::{Of, Scene};
use crate::suite::{Outcome, soon, waiting};

/// Asks for the lock, and stops when the signal comes; a lock that was got by then is given back.
async fn until<T>(pool: &LockPool, signal: impl Future<Output = Outcome<T>>) -> Outcome {
    let mut acquire = pin!(pool.dlock("k").acquire());
    let mut signal = pin!(signal);
    tokio::select! {
        biased;
        outcome = &mut signal => outcome.map(drop),
        guard = &mut acquire => {
            drop(guard?);
            signal.await.map(drop)
        }
    }
}

async fn is_free(scene: &Scene) -> Outcome {
    scene.is_left_clean().await?;
    let theirs = scene.pool("a third").dlock("k").try_acquire().await?;
    assert!(theirs.is_some());
    drop(theirs);
    scene.is_left_clean().await
}

#[tokio::test]
async fn an_acquire_that_is_dropped_between_any_two_polls_leaves_no_lock() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    for polls in 0..40 {
        let mut acquire = Box::pin(pool.dlock("k").acquire());
        for _ in 0..polls {
            if futures_util::poll!(&mut acquire).is_ready() {
                break;
            }
            yield_now().await;
        }
        drop(acquire);
        scene.is_left_clean().await?;
    }
    is_free(&scene).await
}

#[tokio::test]
async fn an_acquire_that_is_dropped_while_it_connects_leaves_no_lock() -> Outcome {
    let scene = Scene::open().await?;
    until(&scene.pool("ours"), scene.until_asked(Of::Life, 1)).await?;
    is_free(&scene).await
}

#[tokio::test]
async fn an_acquire_that_is_dropped_while_the_server_grants_it_leaves_no_lock() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    for round in 1..=20 {
        until(&pool, scene.until_asked(Of::Try, round)).await?;
        scene.is_left_clean().await?;
    }
    is_free(&scene).await
}

async fn held() -> Outcome<(Scene, DLockGuard)> {
    let scene = Scene::open().await?;
    let guard = scene.pool("theirs").dlock("k").await?;
    Ok((scene, guard))
}

#[tokio::test]
async fn an_acquire_that_is_dropped_while_it_is_put_off_leaves_no_lock() -> Outcome {
    let (scene, theirs) = held().await?;
    // Nothing is waited for with one session.
    let pool = scene.builder("ours").max_sessions(1).build();
    until(&pool, waiting(&pool, 1)).await?;
    assert_eq!(scene.asked(Of::Wait), 0);
    theirs.release().await?;
    is_free(&scene).await
}

#[tokio::test]
async fn an_acquire_that_is_dropped_while_the_server_waits_leaves_no_lock() -> Outcome {
    let (scene, theirs) = held().await?;
    let pool = scene.pool("ours");
    until(&pool, scene.until_waiting("k", 1)).await?;
    // The server goes on, and grants it to nobody.
    assert_eq!(scene.locks().waiters("k").len(), 1);
    theirs.release().await?;
    is_free(&scene).await?;
    let counters = pool.status().counters;
    assert_eq!((counters.acquired, counters.sessions_lost), (0, 0));
    Ok(())
}

#[tokio::test]
async fn an_acquire_that_is_dropped_when_its_wait_is_over_leaves_no_lock() -> Outcome {
    for _ in 0..20 {
        let (scene, theirs) = held().await?;
        let pool = scene.pool("ours");
        until(&pool, async {
            scene.until_waiting("k", 1).await?;
            Ok(theirs.release().await?)
        })
        .await?;
        is_free(&scene).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_upgrade_that_is_dropped_leaves_the_lock_as_it_was() -> Outcome {
    let scene = Scene::open().await?;
    let reader = scene.pool("theirs").dlock("k").shared().await?;
    let pool = scene.pool("ours");
    let mut guard = pool.dlock("k").update().await?;
    {
        let upgrade = guard.upgrade().acquire();
        tokio::select! {
            upgraded = upgrade => panic!("{upgraded:?}"),
            in_line = scene.until_waiting("k", 1) => in_line?,
        }
    }
    assert!(guard.is_held());
    reader.release().await?;
    assert!(
        scene
            .pool("a third")
            .dlock("k")
            .try_acquire()
            .await?
            .is_none()
    );
    guard.release().await?;
    is_free(&scene).await
}

#[tokio::test]
async fn an_upgrade_that_is_dropped_while_the_server_grants_it_leaves_nothing_after_its_release()
-> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    for round in 1..=20 {
        let mut guard = pool.dlock("k").update().await?;
        let so_far = scene.asked(Of::Wait) + scene.asked(Of::Try);
        tokio::select! {
            biased;
            asked = soon("the request", scene.server.locks().until(|entries| {
                let asked = scene.asked(Of::Wait) + scene.asked(Of::Try);
                asked > so_far && !entries.is_empty()
            })) => asked?,
            upgraded = guard.upgrade().acquire() => upgraded?,
        }
        guard.release().await?;
        assert_eq!(pool.status().counters.sessions_lost, 0, "{round}");
        scene.is_left_clean().await?;
    }
    Ok(())
}

/// The server never says how it has ended.
#[tokio::test]
async fn a_wait_that_is_cut_short_by_the_close_of_its_pool_ends_its_session() -> Outcome {
    let (scene, theirs) = held().await?;
    let pool = scene.pool("ours");
    let guard = pool.dlock("beside").await?;
    let holding = scene.holder("beside").expect("it is held").session;
    scene.say(Of::Wait, Reply::Never);
    let waiter = pool.clone();
    let waiter = tokio::spawn(async move { waiter.dlock("k").await });
    scene.until_asked(Of::Wait, 1).await?;
    let tries = scene.asked(Of::Try);
    let start = Instant::now();
    let closing = pool.clone();
    let closing = tokio::spawn(async move { closing.close().await });
    let refused = soon("the refusal", waiter).await??;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    let sessions = scene.server.sessions();
    let ended = sessions.until(|_| scene.sessions("ours") == [holding]);
    soon("the end of the session that waits", ended).await?;
    // Half of the keepalive would be 7.5 s.
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(guard.is_held() && theirs.is_held());
    guard.release().await?;
    soon("the close", closing).await??;
    assert_eq!((scene.asked(Of::Wait), scene.asked(Of::Try)), (1, tries));
    scene.until_left("ours").await?;
    theirs.release().await?;
    is_free(&scene).await
}

#[tokio::test]
async fn who_waited_when_its_pool_closed_is_in_nobodys_way() -> Outcome {
    let (scene, theirs) = held().await?;
    let pool = scene.pool("ours");
    let waiter = pool.clone();
    let waiter = tokio::spawn(async move { waiter.dlock("k").await });
    scene.until_waiting("k", 1).await?;
    soon("the close", pool.close()).await?;
    let refused = soon("the refusal", waiter).await??;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    scene.until_waiting("k", 0).await?;
    theirs.release().await?;
    is_free(&scene).await
}

#[tokio::test]
async fn a_pool_that_is_closed_for_good_takes_its_locks_away_at_once() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let guard = pool.dlock("k").await?;
    let closing = pool.close_timeout(Duration::ZERO);
    let lost = async {
        guard.lost().await;
        drop(guard);
    };
    soon("the close", async { tokio::join!(closing, lost) }).await?;
    scene.until_left("ours").await?;
    is_free(&scene).await
}
