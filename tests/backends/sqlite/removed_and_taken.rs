//! The file of a held lock is taken away, and somebody else has the lock now: the former holder has no power over it.

use std::fs;

use dlock::{DLockExt, DLockGuard, Error};
use dlock_tests::Way;

use super::database::{Scratch, held};
use crate::suite::{Outcome, soon};

const KEY: i64 = 42;
const NAME: &str = "42";

/// How a guard ends that does not know yet that its lock is somebody else's.
async fn ends_beside_another_holder(way: Way, end: impl AsyncFnOnce(DLockGuard)) -> Outcome {
    let scratch = Scratch::create().await;
    let (db, third) = (scratch.db().await, scratch.db().await);
    let mut peer = scratch.peer().await?;
    let file = scratch.lock_file(NAME);
    let guard = db.dlock(KEY).await?;
    fs::remove_file(&file)?;
    peer.hold(KEY, way).await?;
    assert!(file.exists());

    end(guard).await;
    assert_eq!(fs::read_to_string(&file)?, NAME);
    assert_eq!(held(&file), 1);
    for other in [&third, &db] {
        assert!(other.dlock(KEY).try_acquire().await?.is_none());
        let limit = std::time::Duration::from_millis(100);
        let waited = other.dlock(KEY).timeout(limit).await;
        assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    }
    peer.release(KEY).await?;
    let next = soon("the lock", third.dlock(KEY).into_future()).await??;
    next.release().await?;
    scratch.until_empty().await
}

async fn release(guard: DLockGuard) {
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
}

#[tokio::test]
async fn a_release_leaves_a_writer_its_file() -> Outcome {
    ends_beside_another_holder(Way::PLAIN, release).await
}

#[tokio::test]
async fn a_release_leaves_a_reader_its_file() -> Outcome {
    ends_beside_another_holder(Way::SHARED, release).await
}

#[tokio::test]
async fn a_drop_leaves_a_writer_its_file() -> Outcome {
    ends_beside_another_holder(Way::PLAIN, async |guard| drop(guard)).await
}

#[tokio::test]
async fn a_drop_leaves_a_reader_its_file() -> Outcome {
    ends_beside_another_holder(Way::SHARED, async |guard| drop(guard)).await
}

#[tokio::test]
async fn a_waiter_takes_over_what_was_deleted_under_its_holder() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let guard = ours.dlock(KEY).await?;
    let waiter = tokio::spawn(async move { theirs.dlock(KEY).await });
    crate::suite::eventually("it waits", async || Ok(held(&scratch.turn_file(NAME)) == 1)).await?;
    fs::remove_dir_all(scratch.locks())?;
    let next = soon("the lock", waiter).await???;
    release(guard).await;
    assert!(next.is_held());
    assert_eq!(held(&scratch.lock_file(NAME)), 1);
    next.release().await?;
    scratch.until_empty().await
}
