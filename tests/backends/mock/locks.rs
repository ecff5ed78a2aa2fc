//! Locks of a mock are locks, and run no statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use dlock::{DLockExt, Error};
use sea_orm::{DbBackend, DbErr};
use tokio::time::Instant;

use super::{BACKENDS, log, mock};
use crate::suite::{Outcome, soon, waiting};

const KEY: &str = "invoice/42";

#[tokio::test]
async fn every_way_to_hold_a_lock_runs_no_statement() -> Outcome {
    for backend in BACKENDS {
        let db = mock(backend);
        let guard = db.dlock(KEY).await?;
        assert!(guard.is_held());
        assert!(db.dlock(KEY).try_acquire().await?.is_none());
        assert!(db.dlock("another").try_acquire().await?.is_some());
        guard.release().await?;
        drop(db.dlock(KEY).timeout(Duration::from_secs(5)).await?);
        let ran = db.dlock(KEY).run(async |lock| {
            assert!(db.dlock(KEY).try_acquire().await?.is_none());
            Ok::<_, Error>(lock.key().to_string())
        });
        assert_eq!(ran.await?, KEY);
        assert!(db.dlock(KEY).try_acquire().await?.is_some());
        assert!(log(db).is_empty(), "{backend:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_waiter_gets_the_lock_when_it_is_released() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let guard = db.dlock(KEY).await?;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(KEY).await }
    });
    waiting(&db, 1).await?;
    assert!(!waiter.is_finished());
    guard.release().await?;
    let next = soon("the lock", waiter).await???;
    assert!(db.dlock(KEY).try_acquire().await?.is_none());
    Ok(next.release().await?)
}

#[tokio::test]
async fn a_wait_lasts_as_long_as_its_timeout() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let _guard = db.dlock(KEY).await?;
    for limit in [Duration::ZERO, Duration::from_millis(300)] {
        let start = Instant::now();
        let refused = db.dlock(KEY).timeout(limit).await;
        let Err(Error::Timeout { waited, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(waited >= limit && start.elapsed() >= limit);
        assert!(start.elapsed() < limit + Duration::from_secs(3));
    }
    Ok(())
}

/// So a unit test of a timeout takes no time.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_paused_time() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let held = db.dlock(KEY).await?;
    let (start, limit) = (std::time::Instant::now(), Duration::from_secs(3600));
    let refused = db.dlock(KEY).timeout(limit).await;
    assert!(matches!(refused, Err(Error::Timeout { .. })), "{refused:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(held.is_held());
    Ok(held.release().await?)
}

#[tokio::test]
async fn readers_share_and_keep_a_writer_out() -> Outcome {
    for backend in [DbBackend::Postgres, DbBackend::Sqlite] {
        let db = mock(backend);
        let readers = [
            db.dlock(KEY).shared().await?,
            db.clone().dlock(KEY).shared().await?,
        ];
        assert!(db.dlock(KEY).try_acquire().await?.is_none());
        drop(readers);
        let writer = db.dlock(KEY).await?;
        assert!(db.dlock(KEY).shared().try_acquire().await?.is_none());
        writer.release().await?;
        assert!(log(db).is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn a_guard_that_is_dropped_has_released() -> Outcome {
    let db = mock(DbBackend::MySql);
    for _ in 0..3 {
        let guard = db.dlock(KEY).await?;
        std::thread::spawn(move || drop(guard))
            .join()
            .expect("it only drops");
        assert!(db.dlock(KEY).try_acquire().await?.is_some());
    }
    Ok(())
}

#[tokio::test]
async fn a_counter_loses_no_update() -> Outcome {
    let db = mock(DbBackend::Postgres);
    let counter = Arc::new(AtomicU32::new(0));
    let tasks = (0..8).map(|_| {
        let (db, counter) = (db.clone(), Arc::clone(&counter));
        tokio::spawn(async move {
            for _ in 0..25 {
                let raise = db.dlock(KEY).run(async |_| {
                    let read = counter.load(Relaxed);
                    tokio::task::yield_now().await;
                    counter.store(read + 1, Relaxed);
                    Ok::<_, DbErr>(())
                });
                raise.await?;
            }
            Ok::<_, DbErr>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    assert_eq!(counter.load(Relaxed), 200);
    assert!(log(db).is_empty());
    Ok(())
}
