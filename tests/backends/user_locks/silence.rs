//! A network that goes silent: sockets stay open and nothing comes any more, as when a host or a firewall in between is gone.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use tokio::time::{Instant, sleep, timeout};

use super::proxy::Fresh;
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, elapsed, in_one_of, soon, waiting};

const KEEPALIVE: Duration = Duration::from_secs(1);
/// What a busy machine adds.
const LATE: Duration = Duration::from_millis(200);
const ATTEMPTS: usize = 3;

pub(crate) async fn a_lock_whose_network_falls_silent_is_lost<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    in_one_of(ATTEMPTS, KEEPALIVE + LATE, async || {
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        let pool = LockPool::builder(&db).keepalive(KEEPALIVE).install();
        let mut guards = Vec::new();
        for key in scene.keys(20) {
            guards.push(db.dlock(key).await?);
        }
        sleep(Duration::from_millis(fastrand::u64(..600))).await;
        let silent = Instant::now();
        proxy.silence().await;
        for guard in &guards {
            soon("the loss", guard.lost()).await?;
        }
        let took = silent.elapsed();
        let counters = pool.status().counters;
        assert_eq!((counters.lost, counters.sessions_lost), (20, 1));
        // The network heals, and with it the next lock.
        let next = db.dlock(scene.key()).timeout(PATIENCE).await?;
        next.release().await?;
        Ok(took)
    })
    .await
}

pub(crate) async fn a_release_into_silence_does_not_hang<S: Server>(scene: &Scene<S>) -> Outcome {
    in_one_of(ATTEMPTS, KEEPALIVE + LATE, async || {
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        LockPool::builder(&db).keepalive(KEEPALIVE).install();
        let guard = db.dlock(scene.key()).await?;
        proxy.silence().await;
        let (released, took) = elapsed(soon("the answer", guard.release())).await;
        let released = released?;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        Ok(took)
    })
    .await
}

pub(crate) async fn a_wait_whose_network_falls_silent_ends_at_its_deadline<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let limit = Duration::from_millis(800);
    let mut holder = scene.raw().await?;
    in_one_of(ATTEMPTS, limit + LATE, async || {
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        let key = scene.key();
        holder.lock(key).await?;
        let waiter = db.dlock(key).timeout(limit);
        let silenced = async {
            waiting(&db, 1).await?;
            sleep(Duration::from_millis(200)).await;
            proxy.silence().await;
            Ok::<_, crate::suite::Failure>(())
        };
        let waiter = elapsed(waiter.into_future());
        let ((got, took), silenced) = tokio::join!(waiter, silenced);
        silenced?;
        assert!(matches!(got, Err(Error::Timeout { .. })), "{got:?}");
        assert!(took >= limit, "{took:?}");
        holder.unlock(key).await?;
        Ok(took)
    })
    .await
}

pub(crate) async fn a_wait_for_a_session_whose_network_is_silent_ends_at_its_deadline<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let [silent, greeted] = [Fresh::Silent, Fresh::Greeted].map(|fresh| ends_in_time(scene, fresh));
    tokio::try_join!(silent, greeted)?;
    Ok(())
}

async fn ends_in_time<S: Server>(scene: &Scene<S>, fresh: Fresh) -> Outcome {
    let limit = Duration::from_millis(400);
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    LockPool::builder(&db).keepalive(KEEPALIVE).install();
    proxy.fresh(fresh);
    in_one_of(ATTEMPTS, limit + LATE, async || {
        let waiter = db.dlock(scene.key()).timeout(limit);
        let (got, took) = elapsed(waiter.into_future()).await;
        assert!(matches!(got, Err(Error::Timeout { .. })), "{got:?}");
        assert!(took >= limit, "{took:?}");
        Ok(took)
    })
    .await?;
    // Who has patience hears why.
    let got = timeout(PATIENCE, db.dlock(scene.key()).into_future()).await?;
    let phase = Phase::Connect;
    assert!(
        matches!(&got, Err(Error::Database { phase: found, .. }) if *found == phase),
        "{got:?}"
    );
    proxy.fresh(Fresh::Through);
    let healed = async {
        loop {
            if let Ok(guard) = db.dlock(scene.key()).await {
                return guard.release().await;
            }
        }
    };
    Ok(soon("the lock", healed).await??)
}
