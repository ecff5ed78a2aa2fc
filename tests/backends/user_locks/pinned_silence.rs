//! A network that goes silent under a pinned lock.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::time::{Instant, sleep};

use super::proxy::Fresh;
use super::{Scene, Server};
use crate::suite::{Outcome, in_one_of, soon};

const KEEPALIVE: Duration = Duration::from_secs(2);
/// As documented, and what a busy machine adds.
const LATE: Duration = Duration::from_millis(700);

pub(super) async fn is_lost_in_time<S: Server>(scene: &Scene<S>, in_transaction: bool) -> Outcome {
    let mut raw = scene.raw().await?;
    in_one_of(2, KEEPALIVE + LATE, async || {
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        let pool = LockPool::builder(&db).keepalive(KEEPALIVE).install();
        let key = scene.key();
        let guard = db.dlock(key).pinned().await?;
        let txn = match in_transaction {
            true => Some(guard.begin().await?),
            false => None,
        };
        // A while, so that all that a quiet life needs is there.
        sleep(Duration::from_millis(1200)).await;
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
        drop(txn);
        raw.kill("CONNECTION", holder).await;
        raw.until_free(key).await?;
        Ok(took)
    })
    .await
}

pub(crate) async fn a_pinned_lock_whose_network_falls_silent_is_lost<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    is_lost_in_time(scene, false).await
}
