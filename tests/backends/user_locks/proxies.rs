//! What passes between a session and its server, and who answers.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use sea_orm::DatabaseConnection;
use tokio::time::{sleep, timeout};

use super::proxy::{Proxy, Sent};
use super::{Scene, Server};
use crate::suite::{Outcome, elapsed, eventually, in_one_of, soon};

pub(crate) async fn a_session_that_holds_nothing_is_left_in_peace<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    LockPool::builder(&db)
        .keepalive(Duration::from_secs(4))
        .install();
    let guard = db.dlock(scene.key()).await?;
    let statements = async |milliseconds| {
        let before = proxy.commands();
        sleep(Duration::from_millis(milliseconds)).await;
        proxy.commands() - before
    };
    let held = statements(1700).await;
    assert!((2..=4).contains(&held), "{held} with a lock");
    guard.release().await?;
    let released = proxy.commands();
    assert_eq!(statements(1200).await, 0, "without a lock");
    // After half of the keepalive.
    eventually("a sign of life is asked for", async || {
        Ok(proxy.commands() == released + 1)
    })
    .await
}

/// Twenty locks, and then another session of the server behind the same connection.
async fn swapped<S: Server>(
    scene: &Scene<S>,
    proxy: &Proxy,
    db: &DatabaseConnection,
) -> Outcome<Vec<DLockGuard>> {
    let mut guards = Vec::new();
    let keys = scene.keys(20);
    for key in &keys {
        guards.push(db.dlock(*key).await?);
    }
    sleep(Duration::from_millis(fastrand::u64(..600))).await;
    proxy.swap().await;
    eventually("the locks are free", async || {
        Ok(scene.held(&keys).await? == 0)
    })
    .await?;
    Ok(guards)
}

pub(crate) async fn another_session_of_the_server_behind_the_connection_is_noticed<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    in_one_of(3, Duration::from_secs(1), async || {
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        let guards = swapped(scene, &proxy, &db).await?;
        let (lost, took) = elapsed(soon("the loss", guards[0].lost())).await;
        lost?;
        for guard in guards {
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        }
        assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 1);
        Ok(took)
    })
    .await
}

/// Other locks come and go on it, so the session is never silent.
pub(crate) async fn another_session_of_the_server_behind_a_busy_connection_is_noticed<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    in_one_of(3, Duration::from_secs(1), async || {
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        let other = scene.key();
        let busy = tokio::spawn({
            let db = db.clone();
            async move {
                loop {
                    if let Ok(guard) = db.dlock(other).await {
                        drop(guard);
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
        let guards = swapped(scene, &proxy, &db).await?;
        let (lost, took) = elapsed(timeout(Duration::from_secs(2), guards[0].lost())).await;
        let held = guards.iter().filter(|guard| guard.is_held()).count();
        busy.abort();
        assert_eq!(
            (lost.is_ok(), held),
            (true, 0),
            "still held, it is said, after {took:?}: {}",
            LockPool::of(&db).status()
        );
        Ok(took)
    })
    .await
}

pub(crate) async fn a_sign_of_life_that_an_operator_ends_is_no_loss<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let guard = db.dlock(scene.key()).await?;
    // Nothing else is said meanwhile.
    proxy.interrupt(Sent::InWords, 1);
    let before = proxy.commands();
    eventually(
        "signs of life are asked for, or there is no session",
        async || {
            let seen = proxy.commands() - before;
            Ok(seen > 1 || LockPool::of(&db).status().sessions == 0)
        },
    )
    .await?;
    assert!(guard.is_held() && proxy.has_interrupted());
    Ok(guard.release().await?)
}
