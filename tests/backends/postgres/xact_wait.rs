//! How the wait of `.xact()` ends without the lock, and what it leaves of the transaction.

use std::time::Duration;

use dlock::{DLockExt, Error};
use dlock_tests::connect;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait,
};
use tokio::time::Instant;

use super::server::{PATIENCE, Server, holders, key, name, url, waiters};

const TIMEOUT: Duration = Duration::from_millis(300);

/// The only value of the only row.
async fn ask(txn: &DatabaseTransaction, sql: &str) -> String {
    let read = Statement::from_string(txn.get_database_backend(), sql);
    let row = txn.query_one_raw(read).await.expect("usable");
    row.expect("one row").try_get_by_index(0).expect("text")
}

async fn setting(txn: &DatabaseTransaction, name: &str) -> String {
    ask(txn, &format!("SELECT current_setting('{name}')")).await
}

#[tokio::test]
async fn a_timeout_leaves_the_transaction_with_its_writes_and_its_locks() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let (busy, mine, table) = (key(), key(), name());
    server
        .run(&format!("CREATE TABLE {table} (value int)"))
        .await;
    server.lock(busy).await;

    let txn = db.begin().await.unwrap();
    txn.dlock(mine).xact().await.unwrap();
    let insert = format!("INSERT INTO {table} VALUES (1)");
    txn.execute_unprepared(&insert).await.unwrap();
    let started = Instant::now();
    let result = txn.dlock(busy).xact().timeout(TIMEOUT).await;
    let took = started.elapsed();
    let Err(Error::Timeout { key, waited, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(key, busy.into());
    assert!(waited >= TIMEOUT && waited <= took, "{waited:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(server.holders(busy).await, 1);
    assert_eq!(server.holders(mine).await, 1);
    txn.execute_unprepared(&insert).await.unwrap();
    txn.commit().await.unwrap();

    assert_eq!(server.count(&table).await, 2);
    server.run(&format!("DROP TABLE {table}")).await;
}

#[tokio::test]
async fn a_timeout_of_zero_is_one_try_and_a_tiny_one_is_not_forever() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let key = key();
    server.lock(key).await;
    let txn = db.begin().await.unwrap();
    for timeout in [0, 1, 400_000] {
        let started = Instant::now();
        let timeout = Duration::from_nanos(timeout);
        let result = txn.dlock(key).xact().timeout(timeout).await;
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    server.unlock(key).await;
    txn.dlock(key).xact().timeout(Duration::ZERO).await.unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn the_settings_of_the_transaction_are_what_they_were() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    for before in ["0", "7s", "1min"] {
        let key = key();
        server.lock(key).await;
        let txn = db.begin().await.unwrap();
        let set = format!("SET LOCAL lock_timeout = '{before}'");
        txn.execute_unprepared(&set).await.unwrap();
        let lock = || txn.dlock(key).xact();

        lock().timeout(TIMEOUT).await.unwrap_err();
        assert_eq!(setting(&txn, "lock_timeout").await, before);

        let granted = tokio::join!(lock().timeout(PATIENCE).acquire(), async {
            server.until_wanted(key, 1).await;
            server.unlock(key).await;
        });
        granted.0.unwrap();
        assert_eq!(setting(&txn, "lock_timeout").await, before);
        txn.commit().await.unwrap();

        let next = db.begin().await.unwrap();
        assert_eq!(setting(&next, "lock_timeout").await, "0");
        next.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_timeout_of_the_transaction_does_not_abort_the_wait() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    for limit in ["400ms", "1s"] {
        let key = key();
        server.lock(key).await;
        let txn = db.begin().await.unwrap();
        let set = format!("SET LOCAL statement_timeout = '{limit}'");
        txn.execute_unprepared(&set).await.unwrap();
        let timeout = Duration::from_millis(1500);
        let result = txn.dlock(key).xact().timeout(timeout).await;
        let Err(Error::Timeout { waited, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(waited >= timeout, "{waited:?}");
        assert_eq!(setting(&txn, "statement_timeout").await, limit);
        server.unlock(key).await;
        txn.dlock(key).xact().await.unwrap();
        txn.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_wait_stays_one_statement_for_longer_than_the_server_takes_to_see_a_deadlock() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let key = key();
    server.lock(key).await;
    let waiter = tokio::spawn(async move {
        let txn = db.begin().await?;
        txn.dlock(key).xact().timeout(PATIENCE).await?;
        txn.commit().await
    });
    server.until_wanted(key, 1).await;
    let longest = format!(
        "EXISTS (SELECT FROM {} AND pid IN \
         (SELECT pid FROM pg_stat_activity WHERE clock_timestamp() - query_start > '1.2 s'))",
        waiters(key)
    );
    server.until(&longest).await;
    server.unlock(key).await;
    waiter.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_deadlock_hits_one_transaction_and_leaves_it_usable_with_its_locks() {
    let db = connect(&url(), 2).await;
    let mut server = Server::main().await;
    let keys = [key(), key()];
    let (a, b) = (holding(&db, keys[0]).await, holding(&db, keys[1]).await);
    let mut a = tokio::spawn(crossed(a, keys[1]));
    let mut b = tokio::spawn(crossed(b, keys[0]));

    let ((victim, result), other, held) = tokio::select! {
        ended = &mut a => (ended.unwrap(), b, keys[0]),
        ended = &mut b => (ended.unwrap(), a, keys[1]),
    };
    let wanted = if held == keys[0] { keys[1] } else { keys[0] };
    match result {
        Err(Error::Deadlock { key }) => assert_eq!(key, wanted.into()),
        other => panic!("{other:?}"),
    }
    assert_eq!(setting(&victim, "lock_timeout").await, "0");
    let pid = ask(&victim, "SELECT pg_backend_pid()::text").await;
    let still_held = format!("{} AND pid = {pid}", holders(held));
    assert_eq!(server.count(&still_held).await, 1);
    assert!(!other.is_finished(), "the other one waits on");
    victim.commit().await.unwrap();

    let (winner, result) = other.await.unwrap();
    result.unwrap();
    winner.commit().await.unwrap();
}

async fn holding(db: &DatabaseConnection, key: i64) -> DatabaseTransaction {
    let txn = db.begin().await.expect("a transaction");
    txn.dlock(key).xact().await.expect("its lock");
    txn
}

async fn crossed(txn: DatabaseTransaction, key: i64) -> (DatabaseTransaction, Result<(), Error>) {
    let result = txn.dlock(key).xact().timeout(PATIENCE).await;
    (txn, result)
}

#[tokio::test]
async fn an_aborted_transaction_says_so_and_holds_nothing_more() {
    let db = connect(&url(), 1).await;
    let key = key();
    let txn = db.begin().await.unwrap();
    txn.execute_unprepared("SELECT 1 / 0").await.unwrap_err();
    let result = txn.dlock(key).xact().await;
    assert!(matches!(result, Err(Error::Database { .. })), "{result:?}");
    assert_eq!(Server::main().await.holders(key).await, 0);
    txn.rollback().await.unwrap();
}
