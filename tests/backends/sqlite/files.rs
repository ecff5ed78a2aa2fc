//! The files of locks: where they are, what they hold, and that they go.

use std::fs;
use std::time::{Duration, Instant};

use dlock::{DLockExt, Error};
use dlock_tests::Way;
use sea_orm::DatabaseConnection;
use tokio::task::JoinSet;

use super::database::{Scratch, held};
use crate::suite::{Outcome, in_one_of};

const KEY: i64 = 42;
const NAME: &str = "42";

/// `printf %s abc | b2sum`
const ABC: &str = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
                   7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923";

#[tokio::test]
async fn the_file_of_a_held_lock_is_named_for_its_key_holds_its_text_and_goes_with_it() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let file = scratch.locks().join(ABC);
    for release in [true, false] {
        let guard = db.dlock("abc").await?;
        assert_eq!(scratch.files(), [ABC]);
        assert_eq!(fs::read_to_string(&file)?, "abc");
        assert_eq!(held(&file), 1);
        match release {
            true => guard.release().await?,
            false => drop(guard),
        }
        assert!(scratch.files().is_empty());
    }
    Ok(())
}

/// Ten waits of random length, of which some last longer than the others hold.
async fn contend(db: DatabaseConnection) -> Outcome {
    for _ in 0..10 {
        let key = fastrand::i64(..4);
        let limit = Duration::from_millis(fastrand::u64(..30));
        match db.dlock(key).timeout(limit).await {
            Ok(guard) => {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..10))).await;
                guard.release().await?;
            }
            Err(Error::Timeout { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        drop(db.dlock(key).try_acquire().await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contention_timeouts_and_tries_leave_no_file() -> Outcome {
    let scratch = Scratch::create().await;
    let dbs = [scratch.db().await, scratch.db().await, scratch.db().await];
    let held = dbs[0].dlock(0_i64).await?;
    let mut tasks = JoinSet::new();
    for task in 0..24 {
        tasks.spawn(contend(dbs[task % dbs.len()].clone()));
    }
    for done in tasks.join_all().await {
        done?;
    }
    held.release().await?;
    scratch.until_empty().await
}

#[tokio::test]
async fn a_cancelled_wait_leaves_no_file() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let guard = theirs.dlock(KEY).await?;
    let waiter = tokio::spawn(async move { ours.dlock(KEY).await });
    let turn = scratch.turn_file(NAME);
    crate::suite::eventually("it waits", async || Ok(held(&turn) == 1)).await?;
    waiter.abort();
    guard.release().await?;
    scratch.until_empty().await
}

#[tokio::test]
async fn the_file_of_readers_stays_until_an_exclusive_holder_releases() -> Outcome {
    let scratch = Scratch::create().await;
    let (db, mut peer) = (scratch.db().await, scratch.peer().await?);
    let file = scratch.lock_file(NAME);
    let reader = db.dlock(KEY).shared().await?;
    peer.hold(KEY, Way::SHARED).await?;
    assert_eq!(held(&file), 2);
    assert_eq!(fs::read_to_string(&file)?, NAME);
    reader.release().await?;
    assert_eq!(held(&file), 1);
    peer.release(KEY).await?;
    assert_eq!((held(&file), scratch.files().len()), (0, 1));

    let writer = db.dlock(KEY).await?;
    assert_eq!(fs::read_to_string(&file)?, NAME);
    writer.release().await?;
    assert!(scratch.files().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_file_of_a_killed_holder_stays_and_its_lock_is_taken_at_once() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let file = scratch.lock_file(NAME);
    for way in [Way::PLAIN, Way::SHARED] {
        in_one_of(3, Duration::from_millis(300), async || {
            let mut peer = scratch.peer().await?;
            peer.hold(KEY, way).await?;
            assert!(db.dlock(KEY).try_acquire().await?.is_none());
            peer.kill().await?;
            assert_eq!((held(&file), scratch.files().len()), (0, 1));
            let start = Instant::now();
            let guard = db.dlock(KEY).try_acquire().await?;
            let took = start.elapsed();
            assert_eq!(held(&file), 1);
            guard.expect("its holder is dead").release().await?;
            assert!(scratch.files().is_empty());
            Ok(took)
        })
        .await?;
    }
    Ok(())
}
