//! A network that goes silent while the holder of a pinned lock is at work.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::connect;
use sea_orm::TransactionTrait;
use tokio::time::timeout;

use super::pinned_silence::{Doing, is_lost_in_time};
use super::server::{PATIENCE, Server, holders, key};
use super::silence::{Flow, Proxy};

#[tokio::test]
async fn a_pinned_lock_whose_network_falls_silent_in_a_transaction_is_lost() {
    is_lost_in_time(Doing::Transaction).await;
}

#[tokio::test]
async fn a_pinned_lock_whose_network_falls_silent_in_a_statement_is_lost() {
    is_lost_in_time(Doing::Statement).await;
}

/// It cannot be ended, and the error is one of the release.
#[tokio::test]
async fn a_pinned_release_at_work_into_silence_is_an_error_of_the_release() {
    let keepalive = Duration::from_secs(1);
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    LockPool::builder(&db).keepalive(keepalive).install();
    let key = key();
    let guard = db.dlock(key).pinned().await.unwrap();
    let txn = guard.begin().await.unwrap();
    proxy.fresh(Flow::Silent);
    proxy.silence();
    let released = timeout(keepalive + PATIENCE, guard.release()).await;
    let released = released.unwrap();
    let mut server = Server::main().await;
    let ended = format!("SELECT pg_terminate_backend(pid) FROM {}", holders(key));
    server.run(&ended).await;
    server.until_free(key).await;
    drop(txn);
    assert!(
        matches!(
            released,
            Err(Error::Lost { .. }
                | Error::Database {
                    phase: Phase::Release,
                    ..
                })
        ),
        "{released:?}"
    );
}
