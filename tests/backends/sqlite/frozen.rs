//! Processes that stand still, and those that are killed while they wait.

use std::time::Duration;

use dlock::DLockExt;
use dlock_tests::Way;

use super::database::{Scratch, held};
use crate::suite::{Outcome, Peer, elapsed, eventually, in_one_of, soon};

const KEY: i64 = 42;
const NAME: &str = "42";

/// It waits, and it is its turn.
async fn waiting_peer(scratch: &Scratch) -> Outcome<Peer> {
    let mut peer = scratch.peer().await?;
    peer.wait_for(KEY).await?;
    let turn = scratch.turn_file(NAME);
    eventually("it is its turn", async || Ok(held(&turn) == 1)).await?;
    Ok(peer)
}

/// Within its turn: it takes it anew every second or two.
async fn frozen_peer(scratch: &Scratch) -> Outcome<Peer> {
    let peer = waiting_peer(scratch).await?;
    loop {
        peer.freeze().await?;
        if held(&scratch.turn_file(NAME)) == 1 {
            return Ok(peer);
        }
        peer.thaw().await?;
    }
}

#[tokio::test]
async fn a_waiter_that_stands_still_keeps_nobody_out_for_long() -> Outcome {
    let scratch = Scratch::create().await;
    let (holder, ours) = (scratch.db().await, scratch.db().await);
    let mut theirs = scratch.peer().await?;
    let held = holder.dlock(KEY).await?;
    let mut frozen = frozen_peer(&scratch).await?;
    held.release().await?;
    let (got, took) = elapsed(
        ours.dlock(KEY)
            .timeout(Duration::from_secs(20))
            .into_future(),
    )
    .await;
    got?.release().await?;
    assert!(took < Duration::from_secs(8), "{took:?}");
    // From then on the frozen one is in nobody's way.
    assert!(theirs.try_hold(KEY, Way::PLAIN).await?);
    theirs.release(KEY).await?;
    frozen.thaw().await?;
    frozen.expect("held").await?;
    assert!(!theirs.try_hold(KEY, Way::PLAIN).await?);
    frozen.release(KEY).await?;
    scratch.until_empty().await
}

#[tokio::test]
async fn a_holder_that_stands_still_holds() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let mut frozen = scratch.peer().await?;
    frozen.hold(KEY, Way::PLAIN).await?;
    frozen.freeze().await?;
    let limit = Duration::from_millis(300);
    assert!(db.dlock(KEY).timeout(limit).await.is_err());
    assert!(db.dlock(KEY).try_acquire().await?.is_none());
    frozen.thaw().await?;
    frozen.release(KEY).await?;
    let guard = soon("the lock", db.dlock(KEY).into_future()).await??;
    Ok(guard.release().await?)
}

#[tokio::test]
async fn a_killed_waiter_takes_its_turn_along() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    in_one_of(3, Duration::from_millis(300), async || {
        let guard = ours.dlock(KEY).await?;
        waiting_peer(&scratch).await?.kill().await?;
        guard.release().await?;
        let (got, took) = elapsed(theirs.dlock(KEY).try_acquire()).await;
        got?.expect("nobody waits any more").release().await?;
        Ok(took)
    })
    .await?;
    // The next one who waits takes the file along that the dead one left.
    let guard = ours.dlock(KEY).await?;
    let limit = Duration::from_millis(100);
    assert!(theirs.dlock(KEY).timeout(limit).await.is_err());
    guard.release().await?;
    scratch.until_empty().await
}
