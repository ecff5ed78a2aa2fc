//! A wait of `.xact()` that is dropped at any await point leaves a transaction that means what it says.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use dlock::{DLockExt, Error};
use dlock_tests::connect;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::server::{PATIENCE, Server, key, name, url};

const TASKS: u32 = 8;
const ROUNDS: u32 = 150;

/// Polls a future this many times at most.
async fn poll_times<F: Future>(future: F, mut times: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(move |context| match times.checked_sub(1) {
        None => Poll::Ready(None),
        Some(left) => {
            times = left;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

#[tokio::test]
async fn cancelled_anywhere_it_leaves_the_transaction_usable_and_the_server_clean() {
    let table = name();
    let create = format!("CREATE TABLE {table} (task int, round int)");
    let mut server = Server::main().await;
    server.run(&create).await;
    let db = connect(&url(), TASKS).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(cancel_often(db.clone(), table.clone(), task));
    }
    let cancelled: u32 = tasks.join_all().await.into_iter().sum();
    assert!(
        cancelled >= 500,
        "only {cancelled} of the waits were cut off"
    );
    let torn = format!("(SELECT FROM {table} GROUP BY task, round HAVING count(*) <> 2) torn");
    assert_eq!(server.count(&torn).await, 0);
    let complete = i64::from(2 * TASKS * ROUNDS);
    assert_eq!(server.count(&table).await, complete);
    server.run(&format!("DROP TABLE {table}")).await;
}

/// How many waits were dropped before their end.
async fn cancel_often(db: DatabaseConnection, table: String, task: u32) -> u32 {
    let mut holder = Server::main().await;
    let mut cancelled = 0;
    for round in 0..ROUNDS {
        let key = key();
        let contended = round % 8 != 0;
        if contended {
            holder.lock(key).await;
        }
        let insert = format!("INSERT INTO {table} VALUES ({task}, {round})");
        let txn = db.begin().await.expect("a transaction");
        txn.execute_unprepared(&insert).await.expect("a row");
        let wait = txn
            .dlock(key)
            .xact()
            .timeout(Duration::from_millis(30))
            .acquire();
        let wait = async {
            match contended && fastrand::bool() {
                // The lock comes free while it is waited for, near the time of the cut.
                true => tokio::join!(wait, give_back(&mut holder, key)).0,
                false => wait.await,
            }
        };
        let outcome = match fastrand::bool() {
            true => poll_times(wait, fastrand::u32(..5)).await,
            false => timeout(Duration::from_micros(fastrand::u64(..20_000)), wait)
                .await
                .ok(),
        };
        match outcome {
            None => cancelled += 1,
            Some(Ok(()) | Err(Error::Timeout { .. })) => {}
            Some(Err(error)) => panic!("{error}"),
        }
        txn.execute_unprepared(&insert).await.expect("usable");
        let lock_timeout = "SELECT current_setting('lock_timeout')";
        let lock_timeout = Statement::from_string(txn.get_database_backend(), lock_timeout);
        let row = txn.query_one_raw(lock_timeout).await.expect("usable");
        let lock_timeout: String = row.expect("one row").try_get_by_index(0).expect("text");
        assert_eq!(lock_timeout, "0");
        txn.commit().await.expect("commits");
        holder.run("SELECT pg_advisory_unlock_all()").await;
        assert_eq!(holder.holders(key).await, 0);
    }
    cancelled
}

async fn give_back(holder: &mut Server, key: i64) {
    sleep(Duration::from_micros(fastrand::u64(..30_000))).await;
    holder.unlock(key).await;
}

#[tokio::test]
async fn a_cancelled_wait_ends_with_the_rollback_of_its_transaction() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let key = key();
    server.lock(key).await;
    let txn = db.begin().await.unwrap();
    {
        let mut wait = pin!(txn.dlock(key).xact().acquire());
        tokio::select! {
            result = &mut wait => panic!("{result:?}"),
            () = server.until_wanted(key, 1) => {}
        }
    }
    // The statement that was cut off ends with its slice; the only connection comes back clean.
    txn.rollback().await.unwrap();
    let clean = async || {
        let next = db.begin().await?;
        let taken = next.dlock(key).xact().try_acquire().await?;
        next.rollback().await?;
        Ok::<_, DbErr>(taken)
    };
    assert!(!timeout(PATIENCE, clean()).await.unwrap().unwrap());
    server.until_wanted(key, 0).await;
    server.unlock(key).await;
    assert!(clean().await.unwrap());
    assert_eq!(server.holders(key).await, 0);
}
