//! A pinned lock of a mock: the guard is the mock itself.

use dlock::{DLockExt, Error, LockPool};
use sea_orm::{ConnectionTrait, MockDatabase, MockExecResult, TransactionTrait};

use super::{BACKENDS, log, mock};
use crate::suite::Outcome;

const KEY: &str = "invoice/42";
const PAY: &str = "UPDATE invoice SET paid = true WHERE id = 42";

#[tokio::test]
async fn the_guard_runs_what_the_code_runs_and_nothing_else() -> Outcome {
    for backend in BACKENDS {
        let paid = MockExecResult {
            rows_affected: 1,
            ..MockExecResult::default()
        };
        let db = MockDatabase::new(backend)
            .append_exec_results([paid.clone(), paid])
            .into_connection();
        let guard = db.dlock(KEY).pinned().await?;
        assert!(db.dlock(KEY).try_acquire().await?.is_none());
        assert!(db.dlock(KEY).pinned().try_acquire().await?.is_none());
        assert!(guard.is_mock_connection());
        let done = guard.execute_unprepared(PAY).await?;
        assert_eq!(done.rows_affected(), 1);
        let txn = guard.begin().await?;
        txn.execute_unprepared(PAY).await?;
        txn.commit().await?;
        guard.release().await?;
        assert!(db.dlock(KEY).try_acquire().await?.is_some());
        let log: Vec<usize> = log(db).iter().map(Vec::len).collect();
        assert_eq!(log, [1, 3], "{backend:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_begun_on_the_mock_goes_on_without_the_lock() -> Outcome {
    for backend in BACKENDS {
        let db = mock(backend);
        let guard = db.dlock(KEY).pinned().await?;
        let txn = guard.begin().await?;
        guard.release().await?;
        assert!(db.dlock(KEY).try_acquire().await?.is_some());
        txn.rollback().await?;
        LockPool::of(&db).close().await;
        let refused = db.dlock(KEY).pinned().await;
        assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    }
    Ok(())
}
