//! A pinned lock whose holder is at work, when nobody else can be asked about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dlock::{DLockExt, LockPool};
use sea_orm::sqlx::Error;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use tokio::time::timeout;

use super::server::{Server, key, options, url};

const KEEPALIVE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_pinned_lock_at_work_is_not_lost_when_no_other_session_can_be_opened() {
    let fails = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&fails);
    let pool = PgPoolOptions::new().after_connect(move |_, _| {
        let failed = hook.load(Ordering::SeqCst).then_some(Error::WorkerCrashed);
        Box::pin(async move { failed.map_or(Ok(()), Err) })
    });
    let db: DatabaseConnection = pool.connect_lazy_with(options(&url())).into();
    let lock_pool = LockPool::builder(&db).keepalive(KEEPALIVE).install();
    let (wanted, mut server) = (key(), Server::main().await);
    let guard = db.dlock(wanted).pinned().await.unwrap();
    fails.store(true, Ordering::SeqCst);
    let txn = guard.begin().await.unwrap();
    // More than once it is tried in vain to open another.
    let lost = timeout(6 * KEEPALIVE, guard.lost()).await;
    assert!(lost.is_err() && guard.is_held());
    assert_eq!(server.holders(wanted).await, 1);
    assert!(lock_pool.status().counters.sessions_refused > 0);
    txn.execute_unprepared("SELECT 1").await.unwrap();
    txn.commit().await.unwrap();
    guard.release().await.unwrap();
    server.until_free(wanted).await;
}
