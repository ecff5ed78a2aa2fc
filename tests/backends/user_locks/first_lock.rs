//! Names that only one of the two servers takes, as the first lock of a pool: it has to ask which of the two it is before it knows the name.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::options::name;
use super::proxy::Fresh;
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, eventually, soon};

/// 65 and 192 letters, four bytes for one character; each is hashed on MySQL.
pub(super) fn names() -> [String; 4] {
    let id = name();
    let filled = |length| format!("{id}{}", "x".repeat(length - id.len()));
    [
        filled(65),
        filled(192),
        format!("{id}😀"),
        format!("{id}{}", "é".repeat(60)),
    ]
}

pub(super) fn is_name<S: Server>(physical: &dlock::PhysicalKey, text: &str) -> bool {
    let physical = physical.to_string();
    match S::FOLDS_CASE {
        true => physical.len() == 64 && physical.bytes().all(|byte| byte.is_ascii_hexdigit()),
        false => physical == text,
    }
}

pub(crate) async fn the_first_lock_waits_to_hear_its_name<S: Server>(scene: &Scene<S>) -> Outcome {
    let mut raw = scene.raw().await?;
    for text in names() {
        let db = scene.db_of("ours", 1).await;
        let guard = db.dlock(&text).await?;
        assert!(is_name::<S>(guard.physical_key(), &text), "{guard:?}");
        assert!(!raw.can_lock(guard.physical_key()).await?);
        let another = LockPool::builder(&db).build();
        assert!(another.dlock(&text).try_acquire().await?.is_none());
        let short = Duration::from_millis(100);
        let another = LockPool::builder(&db).build();
        let late = another.dlock(&text).timeout(short).await;
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        let another = LockPool::builder(&db).build();
        let zero = another.dlock(&text).timeout(Duration::ZERO).await;
        assert!(matches!(zero, Err(Error::Timeout { .. })), "{zero:?}");
        assert_eq!(LockPool::of(&db).status().counters.sessions_opened, 1);
        guard.release().await?;
        another
            .dlock(&text)
            .timeout(PATIENCE)
            .await?
            .release()
            .await?;
    }
    Ok(())
}

pub(crate) async fn the_first_lock_may_be_a_try<S: Server>(scene: &Scene<S>) -> Outcome {
    for text in names() {
        let db = scene.db_of("ours", 1).await;
        let guard = db.dlock(&text).try_acquire().await?.expect("it is free");
        assert!(is_name::<S>(guard.physical_key(), &text), "{guard:?}");
        guard.release().await?;
    }
    Ok(())
}

pub(crate) async fn a_namespace_counts_for_the_length_of_a_name<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let id = name();
    // Alone it is a name on both, within the namespace on one.
    let text = format!("{id}{}", "x".repeat(60 - id.len()));
    let pool = LockPool::builder(&db).namespace("billing").build();
    let guard = pool.dlock(&text).try_acquire().await?.expect("it is free");
    let within = format!("billing:{text}");
    assert!(is_name::<S>(guard.physical_key(), &within), "{guard:?}");
    assert!(!raw.can_lock(guard.physical_key()).await?);
    assert!(db.dlock(&within).try_acquire().await?.is_none());
    assert!(raw.can_lock(&text).await?);
    Ok(guard.release().await?)
}

pub(crate) async fn many_first_locks_at_once_open_one_session<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut locks = JoinSet::new();
    for text in (0..25).flat_map(|_| names()) {
        let db = db.clone();
        locks.spawn(async move { db.dlock(text).timeout(PATIENCE).await });
    }
    let guards = locks.join_all().await;
    let guards = guards.into_iter().collect::<Result<Vec<_>, _>>()?;
    let status = LockPool::of(&db).status();
    assert_eq!((status.held, status.sessions), (100, 1), "{status}");
    for guard in guards {
        guard.release().await?;
    }
    Ok(())
}

/// Nothing is held and nobody waits when the connection comes up after all.
pub(crate) async fn a_first_lock_that_is_cancelled_while_connecting_leaves_nothing<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let mut raw = scene.raw().await?;
    for (text, is_try) in names().into_iter().zip([true, false, true, false]) {
        let db = proxy.db();
        let pool = LockPool::of(&db);
        proxy.fresh(Fresh::Held);
        let asked = pool.clone();
        let asking = tokio::spawn({
            let text = text.clone();
            async move {
                match is_try {
                    true => asked.dlock(text).try_acquire().await.map(drop),
                    false => asked.dlock(text).timeout(PATIENCE).await.map(drop),
                }
            }
        });
        eventually("it connects", async || Ok(proxy.held() > 0)).await?;
        asking.abort();
        assert!(asking.await.is_err_and(|error| error.is_cancelled()));
        proxy.fresh(Fresh::Through);
        let opened = async || Ok(pool.status().counters.sessions_opened == 1);
        eventually("the session is there", opened).await?;
        let status = pool.status();
        assert_eq!((status.keys, status.held, status.waiters), (0, 0, 0));
        let guard = soon("the lock", pool.dlock(&text).into_future()).await??;
        let physical = guard.physical_key().to_string();
        guard.release().await?;
        assert!(raw.can_lock(&physical).await?);
    }
    Ok(())
}

/// A timeout ends the wait for a server whose kind is not known yet, and a later lock does not suffer from it.
pub(crate) async fn a_timeout_covers_finding_out_the_name<S: Server>(scene: &Scene<S>) -> Outcome {
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    proxy.aim(&format!("mysql://x@{}/x", silent.local_addr()?))?;
    let limit = Duration::from_millis(200);
    for text in names() {
        let asked = std::time::Instant::now();
        let late = db.dlock(text).timeout(limit).await;
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        assert!(asked.elapsed() >= limit && asked.elapsed() < PATIENCE);
    }
    proxy.aim(&scene.url("ours"))?;
    drop(silent);
    let pool = LockPool::of(&db);
    let given_up = async || Ok(pool.status().counters.sessions_refused > 0);
    eventually("the silent server is given up", given_up).await?;
    for text in names() {
        db.dlock(text).timeout(PATIENCE).await?.release().await?;
    }
    Ok(())
}

pub(crate) async fn a_pool_with_the_shortest_keepalive_connects<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let direct = scene.db_of("direct", 1).await;
    for db in [direct, proxy.db()] {
        for text in names() {
            let pool = LockPool::builder(&db).keepalive(Duration::from_millis(100));
            let pool = pool.build();
            let mut attempts = 1..4;
            // A server that answers later than after 50 ms is given up then, and a machine may be that slow for a moment.
            while let Err(error) = pool.dlock(&text).timeout(PATIENCE).await {
                assert!(attempts.next().is_some(), "{error:?}");
            }
            assert!(pool.status().counters.acquired > 0);
            pool.close().await;
        }
    }
    Ok(())
}
