//! A warning that comes once in the life of a process, so this test has a process of its own.

use std::io;
use std::sync::{Mutex, PoisonError};

use dlock::{DLockExt, LockPool};
use sea_orm::{DbBackend, MockDatabase, MockExecResult, TransactionTrait};
use tracing::Level;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Writes to [`LOG`].
struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One for each line.
fn warnings() -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = String::from_utf8_lossy(&log);
    lines.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_lock_of_a_transaction_outside_of_the_namespace_is_warned_of_once() {
    tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .with_writer(|| Log)
        .init();
    let granted = || MockExecResult {
        rows_affected: 1,
        ..MockExecResult::default()
    };
    let mock = MockDatabase::new(DbBackend::Postgres);
    let db = mock
        .append_exec_results((0..4).map(|_| granted()))
        .into_connection();
    let txn = db.begin().await.expect("a transaction");
    txn.dlock("a").xact().await.expect("the lock");
    assert_eq!(warnings(), [""; 0], "no pool has a namespace");

    LockPool::builder(&db).namespace("billing").install();
    txn.dlock("b")
        .settings_of(&db)
        .xact()
        .await
        .expect("the lock");
    assert_eq!(warnings(), [""; 0], "its settings are taken over");
    for key in ["c", "d"] {
        txn.dlock(key).xact().await.expect("the lock");
    }
    let warnings = warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("settings_of(&db)"), "{warnings:?}");
    txn.commit().await.expect("it commits");
}
