//! Without PL/pgSQL, or without the right to use it, there is nothing to wait in: locks are tried again and again.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use sea_orm::TransactionTrait;
use tokio::time::timeout;

use super::server::{
    PATIENCE, Server, drop_database, key, name, options, scratch_database, waiters,
};
use sea_orm::sqlx::ConnectOptions;

#[tokio::test]
async fn without_the_language_locks_of_both_kinds_wait_by_trying_again() {
    let (database, url) = scratch_database().await;
    let mut server = Server::at(&url).await;
    server.run("DROP EXTENSION plpgsql CASCADE").await;
    assert_both_kinds_wait(&url, &mut server).await;
    drop_database(&database).await;
}

#[tokio::test]
async fn without_the_right_to_use_the_language_locks_of_both_kinds_wait_by_trying_again() {
    let (database, url) = scratch_database().await;
    let mut server = Server::at(&url).await;
    let role = name();
    server.run(&format!("CREATE ROLE {role} LOGIN")).await;
    server
        .run("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
        .await;
    let restricted = options(&url).username(&role).to_url_lossy();
    assert_both_kinds_wait(restricted.as_str(), &mut server).await;
    drop_database(&database).await;
    Server::main().await.run(&format!("DROP ROLE {role}")).await;
}

async fn assert_both_kinds_wait(url: &str, server: &mut Server) {
    let db = connect(url, 1).await;
    let short = Duration::from_millis(200);

    let key = key();
    server.lock(key).await;
    let txn = db.begin().await.expect("a transaction");
    let result = txn.dlock(key).xact().timeout(short).await;
    let Err(Error::Timeout { waited, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(waited >= short && waited < PATIENCE, "{waited:?}");
    let mut waiting = Box::pin(txn.dlock(key).xact().acquire());
    assert!(timeout(short, &mut waiting).await.is_err());
    server.unlock(key).await;
    let granted = timeout(PATIENCE, waiting).await.expect("in time");
    granted.expect("the lock");
    assert_eq!(server.holders(key).await, 1);
    txn.commit().await.expect("it is usable");

    server.lock(key).await;
    let result = db.dlock(key).timeout(short).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    let mut waiting = Box::pin(db.dlock(key).acquire());
    assert!(timeout(short, &mut waiting).await.is_err());
    // Nobody ever waits on the server.
    assert_eq!(server.count(&waiters(key)).await, 0);
    let status = LockPool::of(&db).status();
    assert_eq!(status.waiting_sessions, 0, "{status}");
    server.unlock(key).await;
    let granted = timeout(PATIENCE, waiting).await.expect("in time");
    let guard = granted.expect("the lock");
    assert_eq!(server.holders(key).await, 1);
    guard.release().await.expect("it was held");
    let status = LockPool::of(&db).status();
    assert_eq!(status.counters.sessions_lost, 0, "{status}");
    db.close().await.expect("it closes");
}
