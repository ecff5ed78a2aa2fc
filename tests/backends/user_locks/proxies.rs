//! What passes between a session and its server, and who answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use sea_orm::DatabaseConnection;
use sea_orm::sqlx::mysql::MySqlPoolOptions;
use tokio::time::{sleep, timeout};

use super::proxy::Proxy;
use super::{Scene, Server};
use crate::suite::{Outcome, elapsed, eventually, in_one_of, soon};

pub(crate) async fn a_session_that_holds_nothing_is_left_in_peace<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = Proxy::start(&scene.url("ours")).await?;
    let db = proxy.db(MySqlPoolOptions::new());
    LockPool::builder(&db)
        .keepalive(Duration::from_secs(4))
        .install();
    let guard = db.dlock(scene.key()).await?;
    let statements = async |time| {
        let before = proxy.seen.commands.load(Ordering::SeqCst);
        sleep(time).await;
        proxy.seen.commands.load(Ordering::SeqCst) - before
    };
    let time = Duration::from_millis(1700);
    let held = statements(time).await;
    assert!((2..=4).contains(&held), "{held} with a lock");
    guard.release().await?;
    assert_eq!(statements(time).await, 0, "without a lock");
    // After half of the keepalive.
    eventually("a sign of life is asked for", async || {
        Ok(statements(Duration::from_millis(50)).await == 1)
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
        let proxy = Proxy::start(&scene.url("ours")).await?;
        let db = proxy.db(MySqlPoolOptions::new());
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
        let proxy = Proxy::start(&scene.url("ours")).await?;
        let db = proxy.db(MySqlPoolOptions::new());
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
            "still held, it is said, after {took:?}"
        );
        Ok(took)
    })
    .await
}

pub(crate) async fn a_sign_of_life_that_an_operator_ends_is_no_loss<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = Proxy::start(&scene.url("ours")).await?;
    let db = proxy.db(MySqlPoolOptions::new());
    let guard = db.dlock(scene.key()).await?;
    // Nothing else is said meanwhile.
    proxy.interrupt(1).await;
    let before = proxy.seen.commands.load(Ordering::SeqCst);
    eventually(
        "signs of life are asked for, or there is no session",
        async || {
            let seen = proxy.seen.commands.load(Ordering::SeqCst) - before;
            Ok(seen > 1 || LockPool::of(&db).status().sessions == 0)
        },
    )
    .await?;
    assert!(guard.is_held());
    Ok(guard.release().await?)
}
