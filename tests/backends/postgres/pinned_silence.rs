//! A network that goes silent under a pinned lock that is idle.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::time::{Instant, sleep, timeout};

use super::server::{PATIENCE, Server, holders, key};
use super::silence::{Flow, Proxy};
use crate::suite::in_one_of;

const KEEPALIVE: Duration = Duration::from_secs(2);
/// The session is pinged every 500 ms; a busy machine adds the rest.
const LATE: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_pinned_lock_whose_network_falls_silent_is_lost() {
    let (mut server, key) = (Server::main().await, key());
    let lost = in_one_of(2, KEEPALIVE + LATE, async || {
        let proxy = Proxy::start().await;
        let db = connect(&proxy.url, 1).await;
        let pool = LockPool::builder(&db).keepalive(KEEPALIVE).install();
        let guard = db.dlock(key).pinned().await?;
        // Between two pings.
        sleep(Duration::from_millis(750)).await;
        proxy.fresh(Flow::Silent);
        proxy.silence();
        let start = Instant::now();
        timeout(PATIENCE, guard.lost()).await?;
        let took = start.elapsed();
        assert!(!guard.is_held());
        let counters = pool.status().counters;
        assert_eq!(counters.lost, 1);
        // Nothing hangs that comes after it.
        let after = Instant::now();
        let dead = timeout(PATIENCE, guard.execute_unprepared("SELECT 1")).await?;
        assert!(dead.is_err());
        let released = timeout(PATIENCE, guard.release()).await?;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        assert!(
            after.elapsed() < Duration::from_secs(4),
            "{:?}",
            after.elapsed()
        );
        let ended = format!("SELECT pg_terminate_backend(pid) FROM {}", holders(key));
        server.run(&ended).await;
        server.until_free(key).await;
        Ok(took)
    });
    lost.await.expect("the loss in time");
}

#[tokio::test]
async fn a_pinned_release_into_silence_does_not_hang() {
    let keepalive = Duration::from_secs(1);
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    LockPool::builder(&db).keepalive(keepalive).install();
    let key = key();
    let guard = db.dlock(key).pinned().await.unwrap();
    sleep(Duration::from_millis(200)).await;
    proxy.fresh(Flow::Silent);
    proxy.silence();
    let released = timeout(keepalive + PATIENCE, guard.release()).await;
    let released = released.unwrap();
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    let mut server = Server::main().await;
    let ended = format!("SELECT pg_terminate_backend(pid) FROM {}", holders(key));
    server.run(&ended).await;
    server.until_free(key).await;
}

/// sqlx pings a connection that comes back to its pool, without a limit.
#[tokio::test]
async fn a_pinned_lock_whose_network_falls_silent_right_after_a_statement_is_lost() {
    let (mut server, key) = (Server::main().await, key());
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    LockPool::builder(&db).keepalive(KEEPALIVE).install();
    let guard = db.dlock(key).pinned().await.unwrap();
    sleep(Duration::from_millis(750)).await;
    guard.execute_unprepared("SELECT 1").await.unwrap();
    proxy.fresh(Flow::Silent);
    proxy.silence();
    let lost = timeout(PATIENCE, guard.lost()).await;
    let ended = format!("SELECT pg_terminate_backend(pid) FROM {}", holders(key));
    server.run(&ended).await;
    lost.expect("the loss");
}

/// The holder's own limit has ended its statement, and it has dropped its transaction.
#[tokio::test]
async fn a_pinned_lock_that_its_holder_leaves_in_a_silent_network_is_lost() {
    let (mut server, key) = (Server::main().await, key());
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    LockPool::builder(&db).keepalive(KEEPALIVE).install();
    let guard = db.dlock(key).pinned().await.unwrap();
    let txn = guard.begin().await.unwrap();
    proxy.fresh(Flow::Silent);
    proxy.silence();
    let limit = Duration::from_millis(300);
    let statement = timeout(limit, txn.execute_unprepared("SELECT 1")).await;
    assert!(statement.is_err());
    drop(txn);
    let lost = timeout(PATIENCE, guard.lost()).await;
    let ended = format!("SELECT pg_terminate_backend(pid) FROM {}", holders(key));
    server.run(&ended).await;
    lost.expect("the loss");
}
