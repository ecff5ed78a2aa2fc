//! A network that goes silent under a pinned lock that is idle.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use sea_orm::ConnectionTrait;
use tokio::time::{Instant, sleep};

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
