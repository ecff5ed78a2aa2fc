//! A network that goes silent under a pinned lock that is idle.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::time::{Instant, sleep, timeout};

use super::proxy::Fresh;
use super::{Scene, Server};
use crate::suite::{Outcome, in_one_of, soon};

const KEEPALIVE: Duration = Duration::from_secs(2);
/// The session is pinged every 500 ms; a busy machine adds the rest.
const LATE: Duration = Duration::from_millis(700);

pub(crate) async fn a_pinned_lock_whose_network_falls_silent_is_lost<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    in_one_of(2, KEEPALIVE + LATE, async || {
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        let pool = LockPool::builder(&db).keepalive(KEEPALIVE).install();
        let key = scene.key();
        let guard = db.dlock(key).pinned().await?;
        // Between two pings.
        sleep(Duration::from_millis(750)).await;
        let holder = raw.holder(key).await?.expect("it is held");
        proxy.fresh(Fresh::Silent);
        let silent = Instant::now();
        proxy.silence().await;
        soon("the loss", guard.lost()).await?;
        let took = silent.elapsed();
        assert_eq!(pool.status().counters.lost, 1);
        let dead = soon("an error", guard.execute_unprepared("SELECT 1")).await?;
        assert!(dead.is_err());
        let released = soon("the answer", guard.release()).await?;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        raw.kill("CONNECTION", holder).await;
        raw.until_free(key).await?;
        Ok(took)
    })
    .await
}

/// sqlx pings a connection that comes back to its pool, without a limit.
pub(crate) async fn a_pinned_lock_whose_network_falls_silent_right_after_a_statement_is_lost<
    S: Server,
>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, proxy) = (scene.raw().await?, scene.proxy().await?);
    let (db, key) = (proxy.db(), scene.key());
    let pool = LockPool::builder(&db).keepalive(KEEPALIVE).install();
    let guard = db.dlock(key).pinned().await?;
    let holder = raw.holder(key).await?.expect("it is held");
    sleep(Duration::from_millis(750)).await;
    guard.execute_unprepared("SELECT 1").await?;
    proxy.fresh(Fresh::Silent);
    proxy.silence().await;
    soon("the loss", guard.lost()).await?;
    assert_eq!(pool.status().counters.lost, 1);
    raw.kill("CONNECTION", holder).await;
    raw.until_free(key).await
}

/// The holder's own limit has ended its statement, and it has dropped its transaction.
pub(crate) async fn a_pinned_lock_that_its_holder_leaves_in_a_silent_network_is_lost<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, proxy) = (scene.raw().await?, scene.proxy().await?);
    let (db, key) = (proxy.db(), scene.key());
    let pool = LockPool::builder(&db).keepalive(KEEPALIVE).install();
    let guard = db.dlock(key).pinned().await?;
    let holder = raw.holder(key).await?.expect("it is held");
    let txn = guard.begin().await?;
    proxy.fresh(Fresh::Silent);
    proxy.silence().await;
    let limit = Duration::from_millis(300);
    let statement = timeout(limit, txn.execute_unprepared("SELECT 1")).await;
    assert!(statement.is_err());
    drop(txn);
    soon("the loss", guard.lost()).await?;
    assert_eq!(pool.status().counters.lost, 1);
    raw.kill("CONNECTION", holder).await;
    raw.until_free(key).await
}

/// Work that takes long is no silence.
pub(crate) async fn a_pinned_lock_at_work_for_longer_than_the_keepalive_is_kept<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let (db, key) = (proxy.db(), scene.key());
    let pool = LockPool::builder(&db)
        .keepalive(Duration::from_millis(500))
        .install();
    let guard = db.dlock(key).pinned().await?;
    guard.execute_unprepared("SELECT 1").await?;
    let txn = guard.begin().await?;
    sleep(KEEPALIVE).await;
    txn.commit().await?;
    assert!(guard.is_held());
    guard.release().await?;
    assert_eq!(pool.status().counters.lost, 0);
    Ok(())
}
