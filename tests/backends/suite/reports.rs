//! What a person reads of a lock: in an error, in the log, in a debugger.

use std::time::Duration;

use dlock::{DLockExt, Error, HeldBy, Lockable};

use super::{Backend, Outcome, PATIENCE, Scene, waiting};

const SHORT: Duration = Duration::from_millis(200);

pub(crate) async fn a_timeout_names_a_holder_of_the_same_pool<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    let guard = db.dlock(key).await?;
    for timeout in [Duration::ZERO, SHORT] {
        let Err(error) = db.dlock(key).timeout(timeout).await else {
            panic!("it is held twice");
        };
        let Error::Timeout { held_by, .. } = &error else {
            panic!("{error:?}");
        };
        let Some(HeldBy::ThisProcess { held_for, .. }) = held_by else {
            panic!("{error:?}");
        };
        assert!((timeout..PATIENCE).contains(held_for), "{held_for:?}");
        let text = error.to_string();
        assert!(text.contains("held by this process for"), "{text}");
        assert!(text.contains("not re-entrant"), "{text}");
    }
    guard.release().await?;
    Ok(())
}

pub(crate) async fn a_guard_is_printed_with_its_key_mode_and_session<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    let guard = db.dlock(key).await?;
    let locks = db.lock_pool().locks().await?;
    let mut ours = locks
        .iter()
        .filter(|lock| lock.key == *guard.physical_key());
    let session = ours.next().map(|lock| lock.holder.session);
    let printed = format!("{guard:?}");
    for part in [
        format!("key: {:?}", guard.key()),
        format!("mode: {:?}", guard.mode()),
        format!("session: {}", session.expect("it is listed")),
        "is_held: true".to_owned(),
    ] {
        assert!(printed.contains(&part), "no `{part}`: {printed}");
    }
    for internal in ["Core", "watch", "Receiver", "Link", "Notify"] {
        assert!(!printed.contains(internal), "{printed}");
    }
    Ok(guard.release().await?)
}

pub(crate) async fn a_wait_without_timeout_outlasts_the_default<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let pool = scene.builder("ours", &db).default_timeout(SHORT).build();
    let key = scene.key();
    let guard = pool.dlock(key).await?;
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.dlock(key).no_timeout().await }
    });
    waiting(&pool, 1).await?;
    tokio::time::sleep(2 * SHORT).await;
    assert!(!waiter.is_finished());
    guard.release().await?;
    waiter.await??.release().await?;
    pool.close().await;
    Ok(())
}
