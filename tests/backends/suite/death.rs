//! What dies with a process.

use std::time::Duration;

use dlock::DLockExt;

use super::{Backend, Outcome, Scene, elapsed, in_one_of};

pub(crate) async fn a_killed_holder_frees_its_lock<B: Backend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    for &way in B::GUARDS {
        in_one_of(3, Duration::from_secs(2), async || {
            let key = scene.key();
            let mut peer = scene.peer("peer").await?;
            peer.hold(key, way).await?;
            assert!(way.try_acquire(&db, key).await?.is_none());
            let waiter = way.acquire(&db, key, Duration::from_secs(20));
            let killed = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                peer.kill().await
            };
            let ((got, killed), took) = elapsed(async { tokio::join!(waiter, killed) }).await;
            killed?;
            got?.release().await?;
            Ok(took)
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn a_killed_waiter_gets_nothing<B: Backend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    let held = db.dlock(key).await?;
    let mut peer = scene.peer("peer").await?;
    peer.wait_for(key).await?;
    // Long enough for it to stand in the server's queue, where there is one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    peer.kill().await?;
    scene.until_sessions("peer", 0).await?;
    let locks = scene.backend.locks(&[key]).await?;
    assert_eq!((locks.held, locks.waited_for), (1, 0));
    held.release().await?;
    let again = db.dlock(key).try_acquire().await?;
    assert!(again.is_some());
    Ok(())
}

/// Python's MpReleaseOmitted.
pub(crate) async fn a_holder_that_exits_frees_its_lock<B: Backend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    for &way in B::GUARDS {
        let key = scene.key();
        let mut peer = scene.peer("peer").await?;
        peer.hold(key, way).await?;
        assert!(db.dlock(key).try_acquire().await?.is_none());
        peer.exit().await?;
        let got = db.dlock(key).timeout(Duration::from_secs(20)).await?;
        got.release().await?;
    }
    Ok(())
}
