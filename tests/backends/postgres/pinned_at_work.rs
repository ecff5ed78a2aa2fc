//! A pinned lock whose holder is at work, while no other session can be opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use sea_orm::sqlx;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use tokio::time::{Instant, timeout};

use super::server::{PATIENCE, Server, holders, key, options, url};
use crate::suite::eventually;

/// Several times as long as between two pings of an idle session.
const SEVERAL_PINGS: Duration = Duration::from_secs(2);

const LAST: &str = "SELECT 'the last statement of the holder'";

/// An application whose hook can refuse new sessions.
fn with_switch() -> (DatabaseConnection, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&refuses);
    let pool = PgPoolOptions::new().after_connect(move |_, _| {
        let refused = hook.load(Ordering::SeqCst);
        let refused = refused.then_some(sqlx::Error::WorkerCrashed);
        Box::pin(async move { refused.map_or(Ok(()), Err) })
    });
    let db = pool.connect_lazy_with(options(&url())).into();
    (db, refuses)
}

/// Neither the session itself nor another one.
#[tokio::test]
async fn nothing_is_asked_about_a_pinned_lock_at_work() {
    let (db, refuses) = with_switch();
    let pool = LockPool::of(&db);
    let (key, mut server) = (key(), Server::main().await);
    let guard = db.dlock(key).pinned().await.unwrap();
    refuses.store(true, Ordering::SeqCst);
    let txn = guard.begin().await.unwrap();
    txn.execute_unprepared(LAST).await.unwrap();
    let lost = timeout(SEVERAL_PINGS, guard.lost()).await;
    assert!(lost.is_err() && guard.is_held());
    let last = format!(
        "SELECT query FROM pg_stat_activity WHERE pid IN (SELECT pid FROM {})",
        holders(key)
    );
    assert_eq!(server.ask(&last).await, LAST);
    let counters = pool.status().counters;
    assert_eq!(
        (counters.sessions_opened, counters.sessions_refused),
        (1, 0)
    );
    txn.execute_unprepared("SELECT 1").await.unwrap();
    txn.commit().await.unwrap();
    guard.release().await.unwrap();
    server.until_free(key).await;
}

/// The session cannot be ended, and keeps its lock until its holder leaves it.
#[tokio::test]
async fn a_pinned_release_at_work_fails_while_no_session_can_be_opened() {
    let (db, refuses) = with_switch();
    let pool = LockPool::of(&db);
    let (key, mut server) = (key(), Server::main().await);
    let guard = db.dlock(key).pinned().await.unwrap();
    refuses.store(true, Ordering::SeqCst);
    let txn = guard.begin().await.unwrap();
    let start = Instant::now();
    let released = timeout(PATIENCE, guard.release()).await.unwrap();
    let took = start.elapsed();
    assert!(
        matches!(
            released,
            Err(Error::Database {
                phase: Phase::Release,
                ..
            })
        ),
        "{released:?}"
    );
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert_eq!(server.holders(key).await, 1);
    txn.execute_unprepared("SELECT 1").await.unwrap();
    assert_eq!(server.holders(key).await, 1);
    txn.rollback().await.unwrap();
    server.until_free(key).await;
    eventually("no pinned session is left", async || {
        Ok(pool.status().pinned_sessions == 0)
    })
    .await
    .unwrap();
}
