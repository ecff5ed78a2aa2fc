//! The sessions of a lock pool: whose they are, how they connect, what they cost, how they end.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use sea_orm::TransactionTrait;
use tokio::task::JoinSet;

use super::options::{options, with_hook};
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, eventually, soon};

pub(crate) async fn hooks_of_the_application_come_along<S: Server>(scene: &Scene<S>) -> Outcome {
    let pool = with_hook("SET @hooked = 'yes'".to_owned());
    let db = pool.connect_lazy_with(options(&scene.url("ours"))?);
    let guard = db.dlock(scene.key()).await?;
    let mut raw = scene.raw().await?;
    let application = scene.application("ours");
    assert_eq!(raw.variable(&application, "hooked").await?, "yes");
    Ok(guard.release().await?)
}

pub(crate) async fn credentials_that_have_changed_are_used_for_the_next_session<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db("before").await;
    LockPool::builder(&db).max_locks_per_session(1).install();
    let first = db.dlock(scene.key()).await?;
    let today = options(&scene.url("after"))?;
    db.get_mysql_connection_pool().set_connect_options(today);
    scene.has_at_most(0, "after").await?;
    let second = db.dlock(scene.key()).await?;
    for of in ["before", "after"] {
        scene.until_sessions(of, 1).await?;
    }
    first.release().await?;
    second.release().await?;
    Ok(())
}

async fn all_of(db: &LockPool, keys: Vec<i64>) -> Outcome<Vec<DLockGuard>> {
    let mut tasks = JoinSet::new();
    for key in keys {
        let db = db.clone();
        tasks.spawn(async move { db.dlock(key).await });
    }
    let guards: Result<_, Error> = tasks.join_all().await.into_iter().collect();
    Ok(guards?)
}

pub(crate) async fn prepared_statements_stay_few<S: Server>(scene: &Scene<S>) -> Outcome {
    let (db, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut held = Vec::new();
    for round in 0..40 {
        // Releases and tries of all sizes, apart and together.
        let keys = scene.keys(fastrand::usize(1..1 << (1 + round % 8)));
        let guards = all_of(&pool, keys).await?;
        if fastrand::bool() {
            held.clear();
        }
        held.extend(guards);
    }
    drop(held);
    let busy = scene.key();
    let guard = theirs.dlock(busy).await?;
    let limit = Duration::from_millis(50);
    assert!(pool.dlock(busy).timeout(limit).await.is_err());
    guard.release().await?;
    let application = scene.application("ours");
    let mut raw = scene.raw().await?;
    let prepared = format!(
        "performance_schema.prepared_statements_instances JOIN performance_schema.threads \
         ON OWNER_THREAD_ID = THREAD_ID WHERE PROCESSLIST_USER = '{application}'"
    );
    let prepared = raw.count(&prepared).await?;
    assert!((2..=31).contains(&prepared), "{prepared}");
    pool.close().await;
    Ok(())
}

pub(crate) async fn locks_are_had_while_the_application_uses_up_its_connections<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let application = scene.application("ours");
    let txn = db.begin().await?;
    let keys = scene.keys(20);
    let guards = soon("the locks", all_of(&LockPool::of(&db), keys)).await??;
    let mut raw = scene.raw().await?;
    let all = format!("information_schema.PROCESSLIST WHERE USER = '{application}'");
    let sessions = raw.sessions(&application).await?.len();
    assert_eq!(raw.count(&all).await?, sessions + 1);
    drop(guards);
    Ok(txn.rollback().await?)
}

/// The server counts the clients that go without a word, and operators watch the number (`Aborted_clients`).
pub(crate) async fn sessions_end_with_a_farewell<S: Server>(scene: &Scene<S>) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let key = scene.key();
    // By close, by the last handle, by the last guard, by having nothing to do.
    let pool = LockPool::builder(&db).build();
    pool.dlock(key).await?.release().await?;
    pool.close().await;
    let pool = LockPool::builder(&db).build();
    pool.dlock(key).await?.release().await?;
    drop(pool);
    let pool = LockPool::builder(&db).build();
    let guard = pool.dlock(key).await?;
    drop(pool);
    drop(guard);
    let idle = Duration::from_millis(100);
    let pool = LockPool::builder(&db).idle_timeout(idle).build();
    drop(pool.dlock(key).timeout(PATIENCE).await?);
    eventually("all sessions have ended", async || Ok(proxy.ends() == 4)).await?;
    assert_eq!(proxy.farewells(), 4);
    Ok(())
}
