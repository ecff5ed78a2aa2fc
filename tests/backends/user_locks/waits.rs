//! Waits on the server: how soon they end, and what they leave behind.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use tokio::time::{Instant, sleep};

use super::options::with_hook;
use super::{Scene, Server};
use crate::suite::{Failure, Outcome, PATIENCE, elapsed, eventually, in_one_of, soon};

const ATTEMPTS: usize = 4;

pub(crate) async fn a_wait_is_served_soon_after_the_release_in_every_slice<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let served = async |hold| served_after(scene, Duration::from_millis(hold)).await;
    tokio::try_join!(served(200), served(1200), served(2700))?;
    Ok(())
}

async fn served_after<S: Server>(scene: &Scene<S>, hold: Duration) -> Outcome {
    let (db, mut raw) = (scene.db("ours").await, scene.raw().await?);
    in_one_of(ATTEMPTS, Duration::from_millis(50), async || {
        let key = scene.key();
        raw.lock(key).await?;
        let waiter = async {
            let guard = db.dlock(key).timeout(PATIENCE).await?;
            Ok::<_, Error>((guard, Instant::now()))
        };
        let holder = async {
            sleep(hold).await;
            raw.unlock(key).await?;
            Ok::<_, Failure>(Instant::now())
        };
        let (got, released) = tokio::join!(waiter, holder);
        let (guard, got) = got?;
        guard.release().await?;
        Ok(got.saturating_duration_since(released?))
    })
    .await
}

pub(crate) async fn an_operator_who_ends_statements_or_the_session_of_a_waiter_does_not_end_the_waiting<
    S: Server,
>(
    scene: &Scene<S>,
) -> Outcome {
    let (db, application) = (scene.db("ours").await, scene.application("ours"));
    let (held, wanted) = (scene.key(), scene.key());
    let mut raw = scene.raw().await?;
    let mut holder = scene.raw().await?;
    holder.lock(wanted).await?;
    let guard = db.dlock(held).await?;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).timeout(PATIENCE).await }
    });
    for _ in 0..20 {
        let session = raw.until_waiting(&application, 1).await?.concat();
        raw.kill("QUERY", session).await;
    }
    assert!(!waiter.is_finished());
    let session = raw.until_waiting(&application, 1).await?.concat();
    assert!(raw.kill("CONNECTION", session).await);
    eventually("the session is lost", async || {
        Ok(LockPool::of(&db).status().counters.sessions_lost == 1)
    })
    .await?;
    raw.until_waiting(&application, 1).await?;
    assert!(!waiter.is_finished() && guard.is_held());
    holder.unlock(wanted).await?;
    soon("the lock", waiter).await???.release().await?;
    Ok(guard.release().await?)
}

pub(crate) async fn a_statement_limit_of_the_application_does_not_end_a_wait<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (limit, tenth) = S::STATEMENT_LIMIT;
    let proxy = scene.proxy().await?;
    let db = proxy.db_with(with_hook(format!("SET SESSION {limit} = {tenth}")));
    let key = scene.key();
    let mut holder = scene.raw().await?;
    holder.lock(key).await?;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(key).timeout(PATIENCE).await }
    });
    scene
        .raw()
        .await?
        .until_waiting(&scene.application("ours"), 1)
        .await?;
    let before = proxy.commands();
    sleep(Duration::from_millis(1500)).await;
    // An end of a slice or two, but not one in each tenth of a second.
    let statements = proxy.commands() - before;
    assert!(statements < 10, "{statements}");
    holder.unlock(key).await?;
    soon("the lock", waiter).await???.release().await?;
    assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 0);
    Ok(())
}

pub(crate) async fn a_pool_that_waits_closes_at_once<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db("ours").await;
    let mut holder = scene.raw().await?;
    in_one_of(ATTEMPTS, Duration::from_millis(300), async || {
        let key = scene.key();
        holder.lock(key).await?;
        let pool = LockPool::builder(&db).build();
        let waiter = tokio::spawn({
            let pool = pool.clone();
            async move { pool.dlock(key).await }
        });
        // In the middle of a longer slice.
        sleep(Duration::from_millis(1300)).await;
        let (closed, took) = elapsed(soon("the end", pool.close())).await;
        closed?;
        let refused = waiter.await?;
        assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
        holder.unlock(key).await?;
        let (free, until_free) =
            elapsed(eventually("it is free", async || holder.gets(key).await)).await;
        free?;
        holder.unlock(key).await?;
        Ok(took.max(until_free))
    })
    .await?;
    scene.until_sessions("ours", 0).await
}
