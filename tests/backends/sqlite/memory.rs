//! Databases in memory: their locks are in memory, too.

use std::fs;
use std::time::{Duration, Instant};

use dlock::{DLockExt, Error, LockPool, Mode};
use dlock_tests::connect;
use sea_orm::DatabaseConnection;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tokio::runtime::{Builder, Runtime};

use crate::suite::{Outcome, eventually, soon, waiting};

const KEY: i64 = 42;
pub(super) const ANONYMOUS: &str = "sqlite::memory:";

pub(super) fn name() -> String {
    format!("memory-{:016x}", fastrand::u64(..))
}

/// Only a URI makes SQLite share it.
pub(super) fn named(name: &str) -> String {
    format!("sqlite:file:{name}?mode=memory")
}

/// Two applications on one database of this process.
async fn pair() -> (DatabaseConnection, DatabaseConnection) {
    let url = named(&name());
    (connect(&url, 2).await, connect(&url, 2).await)
}

pub(super) fn private_pool(options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options)
}

#[tokio::test]
async fn applications_on_one_named_database_exclude_each_other() -> Outcome {
    let (ours, theirs) = pair().await;
    for _ in 0..3 {
        let guard = ours.dlock(KEY).await?;
        assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
        assert!(theirs.dlock(KEY).shared().try_acquire().await?.is_none());
        assert!(theirs.dlock("another").try_acquire().await?.is_some());
        guard.release().await?;
        assert!(theirs.dlock(KEY).try_acquire().await?.is_some());
    }
    let elsewhere = connect(&named(&name()), 1).await;
    let guard = ours.dlock(KEY).await?;
    assert!(elsewhere.dlock(KEY).try_acquire().await?.is_some());
    Ok(guard.release().await?)
}

#[tokio::test]
async fn readers_coexist_and_a_writer_waits_for_the_last() -> Outcome {
    let (ours, theirs) = pair().await;
    let readers = [
        ours.dlock(KEY).shared().await?,
        theirs.dlock(KEY).shared().await?,
    ];
    assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
    let writer = tokio::spawn({
        let ours = ours.clone();
        async move { ours.dlock(KEY).await }
    });
    waiting(&ours, 1).await?;
    for reader in readers {
        assert!(!writer.is_finished());
        reader.release().await?;
    }
    let writer = soon("the writer", writer).await???;
    assert!(theirs.dlock(KEY).shared().try_acquire().await?.is_none());
    Ok(writer.release().await?)
}

#[tokio::test]
async fn waits_end_with_the_release_or_with_their_timeout() -> Outcome {
    let (ours, theirs) = pair().await;
    let guard = ours.dlock(KEY).await?;
    let limit = Duration::from_millis(300);
    let start = Instant::now();
    let waited = theirs.dlock(KEY).timeout(limit).await;
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    assert!(start.elapsed() >= limit);
    let waiter = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.dlock(KEY).await }
    });
    waiting(&theirs, 1).await?;
    guard.release().await?;
    let next = soon("the lock", waiter).await???;
    assert!(ours.dlock(KEY).try_acquire().await?.is_none());
    drop(next);
    assert!(ours.dlock(KEY).try_acquire().await?.is_some());
    Ok(())
}

#[tokio::test]
async fn the_listing_shows_every_holder_with_this_process() -> Outcome {
    let (ours, theirs) = pair().await;
    let writer = ours.dlock("written").await?;
    let readers = [
        ours.dlock("read").shared().await?,
        theirs.dlock("read").shared().await?,
    ];
    let locks = LockPool::of(&ours).locks().await?;
    assert_eq!(locks.len(), 3, "{locks:?}");
    for lock in &locks {
        assert!(lock.granted);
        assert_eq!(lock.holder.session, i64::from(std::process::id()));
        assert!(lock.name.is_some());
        let written = lock.key == *writer.physical_key();
        let mode = if written {
            Mode::Exclusive
        } else {
            Mode::Shared
        };
        assert_eq!(lock.mode, mode);
    }
    drop((writer, readers));
    assert!(LockPool::of(&theirs).locks().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_when_all_is_dropped() -> Outcome {
    let url = named(&name());
    let mut outliving = None;
    for _ in 0..3 {
        let db = connect(&url, 1).await;
        let guard = soon("the lock", db.dlock(KEY).into_future()).await??;
        drop(db);
        // The connection is gone, and the guard holds.
        let again = connect(&url, 1).await;
        assert!(again.dlock(KEY).try_acquire().await?.is_none());
        drop(guard);
        outliving = again.dlock(KEY).try_acquire().await?;
        assert!(outliving.take().is_some());
    }
    assert!(outliving.is_none());
    Ok(())
}

#[tokio::test]
async fn no_file_appears() -> Outcome {
    let name = name();
    let guards = [
        connect(&named(&name), 1).await.dlock(KEY).await?,
        connect(ANONYMOUS, 1).await.dlock(KEY).shared().await?,
        private_pool(SqliteConnectOptions::new()).dlock(KEY).await?,
        private_pool(SqliteConnectOptions::new().filename(""))
            .dlock(KEY)
            .await?,
    ];
    for folder in [std::env::current_dir()?, std::env::temp_dir()] {
        for entry in fs::read_dir(folder)? {
            let file = entry?.file_name().to_string_lossy().into_owned();
            let ours = [name.as_str(), "sqlx-in-memory", ":memory:", ".dlock"];
            assert!(!ours.iter().any(|part| file.contains(part)), "{file}");
        }
    }
    drop(guards);
    Ok(())
}

/// On a runtime that nobody drives.
#[test]
fn a_waiter_that_stands_still_keeps_nobody_out_for_long() -> Outcome {
    let url = named(&name());
    let [stands_still, goes_on] = [runtime()?, runtime()?];
    let (db, held) = goes_on.block_on(async {
        let db = connect(&url, 1).await;
        let held = db.dlock(KEY).await?;
        Ok::<_, Error>((db, held))
    })?;
    let _waiting = stands_still.block_on(async {
        let db = connect(&url, 1).await;
        let waiter = tokio::spawn({
            let db = db.clone();
            async move { db.dlock(KEY).await }
        });
        waiting(&db, 1).await?;
        eventually("it is asked for in turn", async || {
            Ok(LockPool::of(&db).status().waiting_sessions == 1)
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, crate::suite::Failure>(waiter)
    })?;
    drop(held);
    goes_on.block_on(async {
        let got = db.dlock(KEY).timeout(Duration::from_secs(15)).await?;
        Ok(got.release().await?)
    })
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
