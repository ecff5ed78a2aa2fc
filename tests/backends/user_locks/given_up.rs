//! What is left of a wait that nobody waits for any more: the server goes on with it for the rest of its slice.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use sea_orm::DatabaseConnection;
use tokio::time::{Instant, sleep, timeout};

use super::{Scene, Server};
use crate::suite::{
    Backend, Locks, Outcome, PATIENCE, elapsed, eventually, in_one_of, soon, waiting,
};

/// The longest slice of a wait, and what a busy machine adds.
const SLICE: Duration = Duration::from_millis(2000 + 1000);
const ATTEMPTS: usize = 4;

/// Gives up while the server goes on to wait.
async fn give_up(db: &DatabaseConnection, key: i64) {
    let got = db.dlock(key).timeout(Duration::from_millis(300)).await;
    assert!(matches!(got, Err(Error::Timeout { .. })), "{got:?}");
}

pub(crate) async fn a_waiter_that_gives_up_leaves_nothing_behind<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db("ours").await;
    let mut raw = scene.raw().await?;
    in_one_of(ATTEMPTS, Duration::from_millis(500), async || {
        let (held, freed) = (scene.key(), scene.key());
        for key in [held, freed] {
            raw.lock(key).await?;
        }
        tokio::join!(give_up(&db, held), give_up(&db, freed));
        let given_up = Instant::now();
        // Into the hands of one who is no longer there.
        raw.unlock(freed).await?;
        eventually("the lock is free", async || {
            Ok(scene.held(&[freed]).await? == 0)
        })
        .await?;
        let took = given_up.elapsed();
        let alone = Locks {
            held: 1,
            waited_for: 0,
        };
        eventually("nobody waits", async || {
            Ok(scene.backend.locks(&[held]).await? == alone)
        })
        .await?;
        assert!(given_up.elapsed() < SLICE, "{:?}", given_up.elapsed());
        raw.unlock(held).await?;
        assert!(db.dlock(held).try_acquire().await?.is_some());
        Ok(took)
    })
    .await
}

/// Nor is it in anybody's way: a lock that nobody has is had by who tries for it.
pub(crate) async fn a_waiter_that_gave_up_takes_the_lock_from_nobody<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db("ours").await;
    let (mut holder, mut other) = (scene.raw().await?, scene.raw().await?);
    let mut refused = 0;
    for _ in 0..5 {
        let key = scene.key();
        holder.lock(key).await?;
        give_up(&db, key).await;
        // Until the server has heard of it, or could have.
        sleep(Duration::from_millis(100)).await;
        holder.unlock(key).await?;
        match other.gets(key).await? {
            true => other.unlock(key).await?,
            false => refused += 1,
        }
    }
    assert_eq!(refused, 0, "of 5");
    Ok(())
}

pub(crate) async fn who_comes_after_a_waiter_that_gave_up_is_served<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db("ours").await;
    let mut raw = scene.raw().await?;
    in_one_of(ATTEMPTS, Duration::from_millis(50), async || {
        let (before, between) = (scene.key(), scene.key());
        for key in [before, between] {
            raw.lock(key).await?;
        }
        tokio::join!(give_up(&db, before), give_up(&db, between));
        // Released before the next one comes.
        raw.unlock(before).await?;
        let (got, took) = elapsed(db.dlock(before).timeout(PATIENCE).into_future()).await;
        got?.release().await?;
        // Released while the next one waits, on the slice of the one before.
        let waiter = tokio::spawn({
            let db = db.clone();
            async move { db.dlock(between).timeout(PATIENCE).await }
        });
        waiting(&db, 1).await?;
        raw.unlock(between).await?;
        let (got, also_took) = elapsed(soon("the lock", waiter)).await;
        got???.release().await?;
        Ok(took.max(also_took))
    })
    .await?;
    assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 0);
    Ok(())
}

/// Who is busy elsewhere cannot hear that his time is over, and the pool waits on for him, in the shortest slices: a hundred of them, or so.
pub(crate) async fn a_caller_that_is_not_polled_after_its_deadline_makes_nobody_spin<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let (key, mut holder) = (scene.key(), scene.raw().await?);
    holder.lock(key).await?;
    let mut waiter = Box::pin(
        db.dlock(key)
            .timeout(Duration::from_millis(300))
            .into_future(),
    );
    let polled = timeout(Duration::from_millis(200), &mut waiter).await;
    assert!(polled.is_err(), "{polled:?}");
    sleep(Duration::from_millis(300)).await;
    let before = proxy.commands();
    sleep(Duration::from_secs(1)).await;
    let commands = proxy.commands() - before;
    assert!(commands < 300, "{commands} in a second");
    holder.unlock(key).await?;
    // It may have been had in the meantime, or not.
    if let Ok(guard) = waiter.await {
        guard.release().await?;
    }
    scene.until_free(key).await
}
