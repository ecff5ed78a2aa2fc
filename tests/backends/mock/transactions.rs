//! A lock around a transaction of a mock, and in one.

use std::time::Duration;

use dlock::{DLockExt, Error};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, MockDatabase, MockExecResult,
    TransactionTrait,
};

use super::{BACKENDS, log, mock};
use crate::suite::Outcome;

const KEY: &str = "invoice/42";
const PAY: &str = "UPDATE invoice SET paid = true WHERE id = 42";

/// Each statement changes so many rows.
fn answering(backend: DbBackend, rows: &[u64]) -> DatabaseConnection {
    let results = rows.iter().map(|rows| MockExecResult {
        rows_affected: *rows,
        ..MockExecResult::default()
    });
    let mock = MockDatabase::new(backend).append_exec_results(results);
    mock.into_connection()
}

#[tokio::test]
async fn a_transaction_logs_its_own_statements_and_nothing_else() -> Outcome {
    for backend in BACKENDS {
        let db = answering(backend, &[1]);
        let paid = db.dlock(KEY).transaction(async |txn| {
            assert!(db.dlock(KEY).try_acquire().await?.is_none());
            txn.execute_unprepared(PAY).await
        });
        assert_eq!(paid.await?.rows_affected(), 1);
        assert!(db.dlock(KEY).try_acquire().await?.is_some());
        assert_eq!(log(db), [["BEGIN", PAY, "COMMIT"]]);
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_whose_body_fails_rolls_back() -> Outcome {
    for backend in BACKENDS {
        let db = mock(backend);
        let failed = db
            .dlock(KEY)
            .transaction(async |_| Err::<(), _>(DbErr::Custom("no".to_owned())));
        assert_eq!(failed.await.unwrap_err(), DbErr::Custom("no".to_owned()));
        assert!(db.dlock(KEY).try_acquire().await?.is_some());
        assert_eq!(log(db), [["BEGIN", "ROLLBACK"]]);
    }
    Ok(())
}

#[tokio::test]
async fn a_body_in_a_transaction_of_its_own_is_under_the_lock() -> Outcome {
    let db = answering(DbBackend::Sqlite, &[1]);
    let guard = db.dlock(KEY).await?;
    let txn = db.begin().await?;
    txn.execute_unprepared(PAY).await?;
    txn.commit().await?;
    guard.release().await?;
    assert_eq!(log(db), [["BEGIN", PAY, "COMMIT"]]);
    Ok(())
}

#[tokio::test]
async fn where_the_database_has_no_transaction_locks_no_statement_is_run() -> Outcome {
    for backend in [DbBackend::MySql, DbBackend::Sqlite] {
        let db = answering(backend, &[1]);
        let txn = db.begin().await?;
        for refused in [
            txn.dlock(KEY).xact().await,
            txn.dlock(KEY).xact().shared().await,
            txn.dlock(KEY).xact().timeout(Duration::ZERO).await,
            txn.dlock(KEY).xact().try_acquire().await.map(drop),
        ] {
            let Err(Error::Unsupported { hint, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert!(hint.contains(".transaction("), "{hint}");
        }
        assert_eq!(txn.execute_unprepared(PAY).await?.rows_affected(), 1);
        txn.commit().await?;
        assert_eq!(log(db), [["BEGIN", PAY, "COMMIT"]]);
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_lock_without_a_result_names_both_ways_out() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let txn = db.begin().await?;
    for refused in [
        txn.dlock(KEY).xact().await,
        txn.dlock(KEY).xact().shared().await,
        txn.dlock(KEY).xact().try_acquire().await.map(drop),
    ] {
        let Err(Error::Unsupported { backend, hint, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(backend.contains("MockDatabase"), "{backend}");
        assert!(hint.contains(".transaction("), "{hint}");
        assert!(hint.contains("rows_affected: 1"), "{hint}");
    }
    Ok(txn.commit().await?)
}

/// One that was waited for: busy, can wait, granted.
#[tokio::test]
async fn a_transaction_lock_is_what_its_results_say() -> Outcome {
    let db = answering(DbBackend::Postgres, &[1, 0, 1, 0, 1, 1]);
    let txn = db.begin().await?;
    assert!(txn.dlock(KEY).xact().try_acquire().await?);
    assert!(!txn.dlock(KEY).xact().try_acquire().await?);
    txn.dlock(KEY).xact().await?;
    txn.dlock(KEY).xact().await?;
    txn.commit().await?;
    let log = log(db);
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].len(), "BEGIN 1 0 1 0 1 1 COMMIT".split(' ').count());
    Ok(())
}

/// What SeaORM does not show yet: with it, a transaction lock could do without a result.
#[tokio::test]
async fn a_transaction_does_not_show_that_it_is_a_mocks() -> Outcome {
    let db = mock(DbBackend::Postgres);
    assert!(db.is_mock_connection());
    let txn = db.begin().await?;
    assert!(!txn.is_mock_connection());
    assert_eq!(format!("{txn:?}"), "DatabaseTransaction");
    Ok(txn.rollback().await?)
}
