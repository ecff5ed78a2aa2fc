//! What the log is told once in the life of a process, which is why this test has one of its own.

use std::sync::{Mutex, PoisonError};

use dlock::{DLockExt, LockPool};
use sea_orm::{DbBackend, MockDatabase, MockExecResult, TransactionTrait};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the messages of warnings.
struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        struct Message;

        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
                    warnings.push(format!("{value:?}"));
                }
            }
        }

        event.record(&mut Message);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn warnings() -> Vec<String> {
    WARNINGS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

#[tokio::test]
async fn a_lock_of_a_transaction_outside_of_the_namespace_is_warned_of_once() {
    tracing::subscriber::set_global_default(Recorder).expect("the only one");
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
