//! Which locks belong to which mock.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Mode, Status};
use sea_orm::DbBackend;

use super::{log, mock};
use crate::suite::Outcome;

const KEY: &str = "invoice/42";

#[tokio::test]
async fn two_mocks_do_not_meet() -> Outcome {
    let (ours, theirs) = (mock(DbBackend::Postgres), mock(DbBackend::Postgres));
    let guards = [ours.dlock(KEY).await?, theirs.dlock(KEY).await?];
    for db in [&ours, &theirs] {
        assert_eq!(LockPool::of(db).status().held, 1);
    }
    for guard in guards {
        guard.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn clones_and_lock_pools_of_one_mock_exclude_each_other() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let guard = db.clone().dlock(KEY).await?;
    assert_eq!(LockPool::of(&db).status().held, 1);
    for _ in 0..2 {
        let another = LockPool::builder(&db).build();
        assert!(another.dlock(KEY).try_acquire().await?.is_none());
    }
    let elsewhere = mock(DbBackend::Postgres);
    let imitator = LockPool::builder(&elsewhere).sessions_from(&db).build();
    assert!(imitator.dlock(KEY).try_acquire().await?.is_none());
    guard.release().await?;
    assert!(imitator.dlock(KEY).try_acquire().await?.is_some());
    Ok(())
}

#[tokio::test]
async fn the_status_and_the_listing_show_what_is_held() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let pool = LockPool::of(&db);
    assert_eq!(pool.status(), Status::default());
    let guards = [db.dlock("written").await?, db.dlock("read").shared().await?];
    let status = pool.status();
    assert_eq!((status.held, status.sessions), (2, 1), "{status}");
    let locks = pool.locks().await?;
    assert_eq!(locks.len(), 2, "{locks:?}");
    for lock in locks {
        let is_written = lock.key == *guards[0].physical_key();
        let mode = match is_written {
            true => Mode::Exclusive,
            false => Mode::Shared,
        };
        assert_eq!((lock.mode, lock.granted), (mode, true));
        assert_eq!(lock.holder.session, i64::from(std::process::id()));
    }
    drop(guards);
    assert!(pool.locks().await?.is_empty());
    assert_eq!(pool.status().counters.acquired, 2);
    assert!(log(db).is_empty());
    Ok(())
}

#[tokio::test]
async fn a_lock_pool_of_a_mock_closes() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let guard = db.dlock(KEY).await?;
    let pool = LockPool::of(&db);
    pool.close_timeout(Duration::from_millis(50)).await;
    assert!(!guard.is_held());
    let refused = db.dlock(KEY).await;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    drop(guard);
    // A new one takes its place.
    LockPool::builder(&db).install();
    assert!(db.dlock(KEY).try_acquire().await?.is_some());
    Ok(())
}

/// `close` of a mock leaves it as it is, and the test goes on with it.
#[tokio::test]
async fn a_mock_that_was_closed_locks_on() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let guard = db.dlock(KEY).await?;
    db.clone().close().await?;
    assert!(db.dlock(KEY).try_acquire().await?.is_none());
    guard.release().await?;
    assert!(db.dlock(KEY).try_acquire().await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_guard_outlives_its_mock() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let guard = db.dlock(KEY).await?;
    assert!(log(db).is_empty());
    assert!(guard.is_held());
    Ok(guard.release().await?)
}

/// Their addresses are used again.
#[tokio::test]
async fn a_new_mock_inherits_nothing() -> Outcome {
    let mut outliving = Vec::new();
    for round in 0..100 {
        let db = mock(DbBackend::Postgres);
        assert_eq!(LockPool::of(&db).status(), Status::default(), "{round}");
        let guard = db.dlock(KEY).await?;
        if round % 3 == 0 {
            outliving.push(guard);
        }
    }
    assert_eq!(outliving.len(), 34);
    Ok(())
}

#[tokio::test]
async fn a_lock_pool_without_its_mock_opens_no_session() {
    let pool = LockPool::of(&mock(DbBackend::Postgres));
    let refused = pool.dlock(KEY).await;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
}
