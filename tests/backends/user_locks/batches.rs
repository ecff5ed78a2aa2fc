//! Statements that fail half-way: nobody hears of it, and nobody has or loses a lock by it.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use sea_orm::sqlx::mysql::MySqlPoolOptions;
use tokio::task::JoinSet;

use super::proxy::Proxy;
use super::witness::Witness;
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, eventually, soon};

pub(crate) async fn what_a_failed_statement_asked_for_is_asked_again<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = Proxy::start(&scene.url("ours")).await?;
    let (db, theirs) = (proxy.db(MySqlPoolOptions::new()), scene.db("theirs").await);
    let (ours, foreign) = (scene.keys(20), scene.key());
    let held = db.dlock(scene.key()).await?;
    let busy = theirs.dlock(foreign).await?;
    for _ in 0..5 {
        proxy.interrupt(1).await;
        let mut tasks = JoinSet::new();
        for key in ours.clone() {
            let db = db.clone();
            tasks.spawn(async move { db.dlock(key).await });
        }
        assert!(db.dlock(foreign).try_acquire().await?.is_none());
        let guards: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
        let guards = guards?;
        assert_eq!(scene.held(&ours).await?, ours.len());
        // The releases as well.
        proxy.interrupt(1).await;
        for guard in guards {
            guard.release().await?;
        }
        assert_eq!(scene.held(&ours).await?, 0);
    }
    assert!(held.is_held() && busy.is_held());
    held.release().await?;
    busy.release().await?;
    assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 0);
    Ok(())
}

/// The name of the lock that is tried for may be another spelling of one that the session holds: MySQL knows it as the same.
pub(crate) async fn a_failed_statement_gives_no_lock_a_second_holder<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = Proxy::start(&scene.url("ours")).await?;
    let (db, theirs) = (proxy.db(MySqlPoolOptions::new()), scene.db("theirs").await);
    let name = format!("{} Abc", scene.name);
    let held = db.dlock(&name).await?;
    proxy.interrupt(1).await;
    let again = db.dlock(name.to_lowercase()).try_acquire().await?;
    let stolen = theirs.dlock(&name).try_acquire().await?;
    // Who knows that he has lost it does not count.
    let has_again = again.as_ref().is_some_and(DLockGuard::is_held);
    let holders = [held.is_held(), stolen.is_some(), S::FOLDS_CASE && has_again];
    let count = holders.iter().filter(|holds| **holds).count();
    assert!(count <= 1, "{count} holders: {holders:?}");
    Ok(())
}

pub(crate) async fn a_server_without_room_for_statements_takes_no_lock_from_its_holder<
    S: Server,
>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = Proxy::start(&scene.url("ours")).await?;
    let db = proxy.db(MySqlPoolOptions::new());
    db.dlock(scene.key()).await?.release().await?;
    let held = db.dlock(scene.key()).await?;
    proxy.refuse_to_prepare(true).await;
    // Too many at once for the statements that there are.
    let mut tasks = JoinSet::new();
    for key in scene.keys(20) {
        let db = db.clone();
        tasks.spawn(async move { db.dlock(key).timeout(PATIENCE).await });
    }
    let others = tasks.join_all().await;
    proxy.refuse_to_prepare(false).await;
    assert!(held.is_held());
    drop(others);
    Ok(held.release().await?)
}

/// MySQL tells whoever closes the circle, even if he only tries.
pub(crate) async fn a_circle_with_a_foreign_session_is_no_error<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (db, keys) = (scene.db("ours").await, scene.keys(2));
    let mut foreign = Witness::of::<S>().await?;
    let mut witness = Witness::of::<S>().await?;
    assert!(foreign.lock(keys[0]).await?);
    let held = db.dlock(keys[1]).await?;
    let wanted = format!("SELECT GET_LOCK('{}', 20)", keys[1]);
    let waiter = tokio::spawn(async move {
        // Granted, or told of the circle.
        let got = foreign.ask(&wanted).await;
        drop(got);
    });
    let waits = format!(
        "information_schema.PROCESSLIST WHERE INFO LIKE '%LOCK(''{}''%' AND ID <> CONNECTION_ID()",
        keys[1]
    );
    eventually("the other waits", async || {
        Ok(witness.count(&waits).await? == 1)
    })
    .await?;
    assert!(db.dlock(keys[0]).try_acquire().await?.is_none());
    let limit = Duration::from_millis(100);
    let got = db.dlock(keys[0]).timeout(limit).await;
    assert!(matches!(got, Err(Error::Timeout { .. })), "{got:?}");
    assert!(held.is_held());
    assert_eq!(scene.held(&keys).await?, 2);
    held.release().await?;
    Ok(soon("the other", waiter).await??)
}
