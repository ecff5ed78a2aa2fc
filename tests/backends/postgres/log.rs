//! What waiting leaves on the server: no lines in its log, no savepoints, and nothing that an index would have to wait for.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::{connect, env};
use sea_orm::sqlx::ConnectOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::server::{
    PATIENCE, Server, application, drop_database, key, name, options, scratch_database, url,
};
use crate::ear::Ear;

const CONTENTION: Duration = Duration::from_secs(15);

/// The server's log from now on: before, others may have had the same process ids.
struct Log {
    from: usize,
}

impl Log {
    fn begin() -> Self {
        Self { from: log().len() }
    }

    /// The lines for these sessions.
    async fn of(self, pids: &[String]) -> Vec<String> {
        let prefix = Server::main().await.ask("SHOW log_line_prefix").await;
        assert!(prefix.contains("[%p]"), "lines without a process: {prefix}");
        let log = log();
        let log = String::from_utf8_lossy(&log[self.from..]);
        let lines = log.lines().filter(|line| {
            let of = |pid: &String| line.contains(&format!("[{pid}]"));
            pids.iter().any(of)
        });
        lines.map(str::to_owned).collect()
    }
}

fn log() -> Vec<u8> {
    std::fs::read(env("DLOCK_TEST_POSTGRES_LOG")).expect("the server's log")
}

/// The server processes of an application and of its lock sessions.
async fn processes(server: &mut Server, application: &str) -> Vec<String> {
    let pids = server
        .ask(&format!(
            "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE application_name LIKE '{application}%'"
        ))
        .await;
    pids.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn fifteen_seconds_of_waiting_leave_the_log_clean() {
    let log = Log::begin();
    let (url, application) = application(&url());
    let key = key();
    let mut server = Server::main().await;
    server.lock(key).await;
    let mut waiting = JoinSet::new();
    let db = connect(&url, 3).await;
    for _ in 0..3 {
        let pool = LockPool::builder(&db).build();
        waiting.spawn(async move { pool.dlock(key).await?.release().await });
        let db = db.clone();
        waiting.spawn(async move {
            let txn = db.begin().await.expect("a transaction");
            txn.dlock(key).xact().await?;
            txn.commit().await.expect("it commits");
            Ok::<_, Error>(())
        });
    }
    server.until_wanted(key, 6).await;
    let started = Instant::now();
    let pool = LockPool::builder(&db).build();
    while started.elapsed() < CONTENTION {
        // Short waits as well: their ends are near a deadline.
        let wait = pool.dlock(key).timeout(Duration::from_millis(300));
        assert!(matches!(wait.await, Err(Error::Timeout { .. })));
    }
    let pids = processes(&mut server, &application).await;
    assert!(pids.len() >= 9, "{pids:?}");
    server.unlock(key).await;
    for ended in waiting.join_all().await {
        ended.unwrap();
    }
    let lines = log.of(&pids).await;
    assert!(lines.is_empty(), "{lines:#?}");
}

/// The lines and the entries of one wait on a server that logs waits and slow statements.
async fn logged(
    database: &str,
    wait: impl AsyncFnOnce(&DatabaseConnection, i64) -> Result<(), Error>,
) -> (usize, usize) {
    const WAIT: Duration = Duration::from_secs(22);
    let log = Log::begin();
    let (url, application) = application(database);
    let db = connect(&url, 1).await;
    let key = key();
    let mut server = Server::at(database).await;
    server.lock(key).await;
    let (waited, pids) = tokio::join!(wait(&db, key), async {
        server.until_wanted(key, 1).await;
        let pids = processes(&mut server, &application).await;
        sleep(WAIT).await;
        server.unlock(key).await;
        pids
    });
    waited.expect("the lock");
    let mut lines = log.of(&pids).await;
    drop_repetitions(&mut lines);
    let entries = lines.iter().filter(|line| line.contains("LOG:")).count();
    println!("{entries} entries, {} lines: {lines:#?}", lines.len());
    (entries, lines.len())
}

/// sqlx warns of a statement that is dropped, as well.
#[tokio::test]
async fn a_cancelled_wait_in_a_transaction_is_no_slow_statement() {
    let ear = Ear::open();
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let key = key();
    server.lock(key).await;
    let txn = db.begin().await.expect("a transaction");
    let longer_than_slow = Duration::from_millis(1500);
    let wait = txn.dlock(key).xact();
    assert!(timeout(longer_than_slow, wait.acquire()).await.is_err());
    txn.rollback().await.expect("it is usable");
    server.unlock(key).await;
    let slow = ear.of_sqlx();
    assert!(slow.is_empty(), "{slow:#?}");
}

/// The server says once per wait that it lasts, and its statement ends before the next wait. When it
/// drops the database of another test it wakes every process, and one that waits says so again.
fn drop_repetitions(lines: &mut Vec<String>) {
    let mut is_said = false;
    let mut is_again = false;
    lines.retain(|line| {
        if line.contains("LOG:") {
            let is_wait = line.contains("still waiting for");
            is_again = is_wait && is_said;
            is_said = is_wait;
        }
        !is_again
    });
}

#[tokio::test]
async fn a_wait_of_22_seconds_leaves_few_lines_where_waits_and_slow_statements_are_logged() {
    let ear = Ear::open();
    let (database, url) = scratch_database().await;
    let mut server = Server::main().await;
    for setting in ["log_lock_waits = on", "log_min_duration_statement = 1000"] {
        let set = format!("ALTER DATABASE {database} SET {setting}");
        server.run(&set).await;
    }
    let session = logged(&url, async |db, key| db.dlock(key).await?.release().await);
    let transaction = logged(&url, async |db, key| {
        let txn = db.begin().await.expect("a transaction");
        txn.dlock(key).xact().await?;
        txn.commit().await.expect("it commits");
        Ok(())
    });
    let (session, transaction) = tokio::join!(session, transaction);
    for (entries, lines) in [session, transaction] {
        assert!(entries <= 4 && lines <= 12, "{session:?} {transaction:?}");
    }
    // The server's check for deadlocks, once in ten seconds, tells of the transaction.
    assert!(transaction.0 > 0, "{transaction:?}");
    assert_eq!(session, (0, 0));
    let slow = ear.of_sqlx();
    assert!(slow.is_empty(), "{slow:#?}");
    drop_database(&database).await;
}

#[tokio::test]
async fn a_wait_that_the_server_refuses_is_not_repeated_without_a_pause() {
    let log = Log::begin();
    let (database, direct) = scratch_database().await;
    let mut server = Server::at(&direct).await;
    let role = name();
    server.run(&format!("CREATE ROLE {role} LOGIN")).await;
    let (restricted, application) =
        application(options(&direct).username(&role).to_url_lossy().as_str());
    let db = connect(&restricted, 1).await;
    let (first, second) = (key(), key());
    server.lock(first).await;
    // With one wait behind it, the session is known to be able to wait.
    let result = db.dlock(first).timeout(Duration::from_millis(500)).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    server
        .run("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
        .await;
    server.lock(second).await;
    let result = db.dlock(second).timeout(Duration::from_secs(1)).await;
    assert!(
        matches!(result, Err(Error::Timeout { .. } | Error::Database { .. })),
        "{result:?}"
    );
    let pids = processes(&mut server, &application).await;
    let lines = log.of(&pids).await;
    let errors = lines.iter().filter(|line| line.contains("ERROR")).count();
    assert!(errors <= 20, "{errors} errors in a second");
    drop_database(&database).await;
    Server::main().await.run(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_wait_in_a_transaction_opens_no_savepoint() {
    let log = Log::begin();
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let (busy, free) = (key(), key());
    let mut server = Server::main().await;
    server.lock(busy).await;
    let txn = db.begin().await.unwrap();
    let verbose = "SET LOCAL log_statement = 'all'";
    txn.execute_unprepared(verbose).await.unwrap();
    txn.dlock(free).xact().await.unwrap();
    let short = Duration::from_millis(1200);
    txn.dlock(busy).xact().timeout(short).await.unwrap_err();
    let pids = processes(&mut server, &application).await;
    assert_eq!(pids.len(), 1);
    txn.rollback().await.unwrap();

    let lines = log.of(&pids).await;
    assert!(
        lines
            .iter()
            .any(|line| line.contains("pg_advisory_xact_lock"))
    );
    for word in ["SAVEPOINT", "ROLLBACK TO", "ERROR"] {
        assert!(!lines.iter().any(|line| line.contains(word)), "{lines:#?}");
    }
    // Two tries and a wait of one slice, or few more.
    assert!(lines.len() < 15, "{} statements: {lines:#?}", lines.len());
}

/// A lock with a waiter, and an index, which has to wait for every transaction with an older snapshot; on a database of its own, since it waits for those
/// of other tests, too.
async fn index_is_built_under_a_lock(by_holder: bool) {
    let (database, url) = scratch_database().await;
    let mut builder = Server::at(&url).await;
    builder
        .run("CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
        .await;
    let (holder, waiter) = (connect(&url, 1).await, connect(&url, 1).await);
    let key = key();
    let guard = match by_holder {
        true => {
            // The one that builds holds the lock: were its waiters to keep their snapshots, this would be a deadlock.
            builder.lock(key).await;
            None
        }
        false => Some(holder.dlock(key).await.expect("it is free")),
    };
    let waiting = tokio::spawn(async move { waiter.dlock(key).timeout(2 * PATIENCE).await });
    builder.until_wanted(key, 1).await;
    // In a long slice by now.
    sleep(Duration::from_secs(1)).await;
    // Each begins at another moment of a slice: were one longer than `deadlock_timeout`, the server
    // would take some of them for a deadlock.
    for index in 0..6 {
        let started = Instant::now();
        let create = format!("CREATE INDEX CONCURRENTLY i{index} ON t (id)");
        builder.run(&create).await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        sleep(Duration::from_millis(70)).await;
    }
    // It still waits, in this slice or in the next.
    builder.until_wanted(key, 1).await;
    match guard {
        Some(guard) => guard.release().await.expect("it was held"),
        None => builder.unlock(key).await,
    }
    let guard = waiting.await.expect("no panic").expect("the lock");
    guard.release().await.expect("it was held");
    drop_database(&database).await;
}

#[tokio::test]
async fn an_index_is_built_concurrently_by_the_holder_of_a_lock_that_others_wait_for() {
    index_is_built_under_a_lock(true).await;
}

#[tokio::test]
async fn an_index_is_built_concurrently_while_others_hold_and_wait_for_a_lock() {
    index_is_built_under_a_lock(false).await;
}
