//! Promise 4: deadlines are end to end, and neither short nor long.

use std::time::Duration;

use dlock::{DLockExt, Error, Key, Lockable};
use dlock_tests::{Db, Way};
use sea_orm::TransactionTrait;

use super::{
    Backend, OrmBackend, Outcome, Scene, elapsed, in_one_of, is_unsupported, soon, waiting,
};

const TIMEOUTS: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(900),
    Duration::from_millis(1500),
];
const LATE: Duration = Duration::from_millis(200);
const ATTEMPTS: usize = 4;

pub(crate) async fn a_wait_for_another_pool_lasts_as_long_as_its_timeout<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    times_out(scene, &theirs, &ours).await
}

/// Python's MpTimeoutFail.
pub(crate) async fn a_wait_for_another_process_lasts_as_long_as_its_timeout<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let ours = scene.db("ours").await;
    let key = scene.key();
    let mut peer = scene.peer("peer").await?;
    peer.hold(key, Way::PLAIN).await?;
    every_wait_times_out::<B>(&ours, key).await?;
    peer.release(key).await
}

pub(crate) async fn a_wait_in_the_same_pool_lasts_as_long_as_its_timeout<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let ours = scene.db("ours").await;
    times_out(scene, &ours, &ours).await
}

async fn times_out<B: Backend>(scene: &Scene<B>, holder: &B::Db, waiter: &B::Db) -> Outcome {
    let key = scene.key();
    let held = holder.dlock(key).await?;
    every_wait_times_out::<B>(waiter, key).await?;
    assert!(held.is_held());
    Ok(held.release().await?)
}

async fn every_wait_times_out<B: Backend>(waiter: &B::Db, key: i64) -> Outcome {
    for limit in TIMEOUTS {
        for &way in B::GUARDS {
            in_one_of(ATTEMPTS, limit + LATE, async || {
                let (got, took) = elapsed(way.acquire(waiter, key, limit)).await;
                is_timeout(got.err(), key, limit, took);
                Ok(took)
            })
            .await?;
        }
    }
    Ok(())
}

fn is_timeout(error: Option<Error>, asked: i64, limit: Duration, took: Duration) {
    assert!(took >= limit, "{took:?} instead of {limit:?}");
    let Some(Error::Timeout { key, waited, .. }) = error else {
        panic!("no timeout: {error:?}");
    };
    assert_eq!(key, Key::from(asked));
    assert!(
        waited >= limit && waited <= took,
        "{waited:?}, in truth {took:?}"
    );
}

pub(crate) async fn a_wait_in_a_transaction_lasts_as_long_as_its_timeout<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let (key, other) = (scene.key(), scene.key());
    let held = theirs.dlock(key).await?;
    let txn = ours.begin().await?;
    if !B::XACT {
        return is_unsupported(&txn.dlock(key).xact().await);
    }
    for limit in TIMEOUTS.into_iter().chain([Duration::from_millis(2300)]) {
        in_one_of(ATTEMPTS, limit + LATE, async || {
            let lock = txn.dlock(key).xact().timeout(limit);
            let (got, took) = elapsed(lock.into_future()).await;
            is_timeout(got.err(), key, limit, took);
            Ok(took)
        })
        .await?;
    }
    let once = txn.dlock(key).xact().timeout(Duration::ZERO).await;
    assert!(matches!(once, Err(Error::Timeout { .. })), "{once:?}");
    assert!(!txn.dlock(key).xact().try_acquire().await?);
    // The transaction is as good as new.
    txn.dlock(other).xact().await?;
    held.release().await?;
    txn.dlock(key)
        .xact()
        .timeout(Duration::from_secs(20))
        .await?;
    assert_eq!(scene.held(&[key, other]).await?, 2);
    txn.commit().await?;
    scene.until_free(key).await
}

pub(crate) async fn a_timeout_of_zero_is_one_try<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let free = ours.dlock(key).timeout(Duration::ZERO).await?;
    for db in [&ours, &theirs] {
        for &way in B::GUARDS {
            in_one_of(ATTEMPTS, LATE, async || {
                let (got, took) = elapsed(way.acquire(db, key, Duration::ZERO)).await;
                is_timeout(got.err(), key, Duration::ZERO, took);
                Ok(took)
            })
            .await?;
        }
    }
    Ok(free.release().await?)
}

pub(crate) async fn a_try_says_none_while_the_lock_is_held<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let held = ours.dlock(key).try_acquire().await?;
    assert!(held.is_some());
    for &way in B::GUARDS {
        for db in [&ours, &theirs] {
            in_one_of(ATTEMPTS, LATE, async || {
                let (got, took) = elapsed(way.try_acquire(db, key)).await;
                assert!(got?.is_none());
                Ok(took)
            })
            .await?;
        }
    }
    drop(held);
    scene.until_free(key).await?;
    assert!(theirs.dlock(key).try_acquire().await?.is_some());
    Ok(())
}

pub(crate) async fn a_default_timeout_bounds_a_wait_without_its_own<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let limit = Duration::from_millis(300);
    let shaped = scene.shaped("ours", |pool| pool.default_timeout(limit));
    let (ours, theirs) = (shaped.await, scene.db("theirs").await);
    let key = scene.key();
    let held = theirs.dlock(key).await?;
    in_one_of(ATTEMPTS, limit + LATE, async || {
        let (got, took) = elapsed(ours.dlock(key).into_future()).await;
        is_timeout(got.err(), key, limit, took);
        Ok(took)
    })
    .await?;
    let own = Duration::from_millis(700);
    let (got, took) = elapsed(ours.dlock(key).timeout(own).into_future()).await;
    is_timeout(got.err(), key, own, took);
    Ok(held.release().await?)
}

pub(crate) async fn a_default_timeout_bounds_a_pinned_wait_without_its_own<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let limit = Duration::from_millis(300);
    let shaped = scene.shaped("ours", |pool| pool.default_timeout(limit));
    let (ours, theirs) = (shaped.await, scene.db("theirs").await);
    let key = scene.key();
    let held = theirs.dlock(key).await?;
    in_one_of(ATTEMPTS, limit + LATE, async || {
        let (got, took) = elapsed(ours.dlock(key).pinned().into_future()).await;
        is_timeout(got.err(), key, limit, took);
        Ok(took)
    })
    .await?;
    Ok(held.release().await?)
}

pub(crate) async fn the_longest_timeout_is_forever<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let free = ours.dlock(key).timeout(Duration::MAX).await?;
    assert!(
        theirs
            .dlock(key)
            .timeout(Duration::MAX)
            .try_acquire()
            .await?
            .is_none()
    );
    let waiter = {
        let theirs = theirs.clone();
        tokio::spawn(async move { theirs.dlock(key).timeout(Duration::MAX).await })
    };
    waiting(&theirs, 1).await?;
    free.release().await?;
    let guard = soon("the lock", waiter).await???;
    Ok(guard.release().await?)
}

pub(crate) async fn the_longest_timeout_of_a_pinned_lock_is_forever<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (db, key) = (scene.db("ours").await, scene.key());
    let pinned = db.dlock(key).pinned().timeout(Duration::MAX).await?;
    Ok(pinned.release().await?)
}

pub(crate) async fn the_longest_timeout_of_a_transaction_lock_is_forever<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let txn = db.begin().await?;
    let locked = txn.dlock(scene.key()).xact().timeout(Duration::MAX).await;
    txn.rollback().await?;
    if !B::XACT {
        return is_unsupported(&locked);
    }
    Ok(locked?)
}

/// The other end takes the connection and never says a word.
pub(crate) async fn a_timeout_covers_connecting<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (_listener, url) = scene.silent_server()?;
    let silent = B::Db::open_lazily(&url).await;
    let (key, limit) = (scene.key(), Duration::from_millis(400));
    for &way in B::GUARDS {
        in_one_of(ATTEMPTS, limit + LATE, async || {
            let (got, took) = elapsed(way.acquire(&silent, key, limit)).await;
            is_timeout(got.err(), key, limit, took);
            Ok(took)
        })
        .await?;
    }
    let status = silent.lock_pool().status();
    assert_eq!((status.pinned_sessions, status.waiters), (0, 0), "{status}");
    Ok(())
}

/// Of which the turn to have a session is a part.
pub(crate) async fn a_timeout_covers_the_turn_to_have_a_pinned_session<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let shaped = scene.shaped("ours", |pool| pool.max_pinned_sessions(1));
    let db = shaped.await;
    let held = db.dlock(scene.key()).pinned().await?;
    let key = scene.key();
    for limit in TIMEOUTS.into_iter().chain([Duration::ZERO]) {
        in_one_of(ATTEMPTS, limit + LATE, async || {
            let (got, took) = elapsed(Way::PINNED.acquire(&db, key, limit)).await;
            is_timeout(got.err(), key, limit, took);
            Ok(took)
        })
        .await?;
    }
    assert!(held.is_held());
    Ok(held.release().await?)
}

/// Python's test_timeout_success.
pub(crate) async fn a_waiter_gets_the_lock_when_it_is_released_in_time<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let (key, hold) = (scene.key(), Duration::from_millis(600));
    for waiter in [&ours, &theirs] {
        in_one_of(ATTEMPTS, hold + LATE, async || {
            let held = ours.dlock(key).await?;
            let waiting = waiter.dlock(key).timeout(Duration::from_secs(20));
            let holding = async {
                tokio::time::sleep(hold).await;
                held.release().await
            };
            let ((got, released), took) = elapsed(async { tokio::join!(waiting, holding) }).await;
            released?;
            got?.release().await?;
            assert!(took >= hold, "{took:?}");
            Ok(took)
        })
        .await?;
    }
    Ok(())
}
