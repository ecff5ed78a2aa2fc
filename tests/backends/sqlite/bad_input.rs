//! What cannot work says why, promptly, and holds nothing.

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::{Way, connect};
use sea_orm::DatabaseConnection;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::time::timeout;

use super::database::Scratch;
use crate::suite::{Outcome, Peer, eventually, soon, waiting};

const KEY: i64 = 42;

/// On a machine that is busy, too.
const PROMPTLY: Duration = Duration::from_secs(4);

/// An application that has not connected yet.
fn lazy(file: &Path) -> DatabaseConnection {
    let options = SqliteConnectOptions::new().filename(file);
    SqlitePoolOptions::new().connect_lazy_with(options).into()
}

/// Both an acquire without limit and a try fail, and their source names the file.
async fn fails(db: &DatabaseConnection, phase: Phase, named: &Path) -> Outcome {
    for failed in [
        timeout(PROMPTLY, db.dlock(KEY).into_future())
            .await?
            .map(drop),
        timeout(PROMPTLY, db.dlock(KEY).try_acquire())
            .await?
            .map(drop),
        timeout(PROMPTLY, db.dlock(KEY).shared().try_acquire())
            .await?
            .map(drop),
    ] {
        let Err(error) = failed else {
            panic!("it locks on {}", named.display());
        };
        assert!(
            matches!(&error, Error::Database { phase: met, .. } if *met == phase),
            "{error:?}"
        );
        let source = error.source().expect("it has a source").to_string();
        assert!(source.contains(&*named.to_string_lossy()), "{source}");
    }
    let status = LockPool::of(db).status();
    assert_eq!((status.held, status.waiters, status.keys), (0, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named_and_not_created() -> Outcome {
    let scratch = Scratch::create().await;
    let missing = scratch.folder.join("missing.db");
    fails(&lazy(&missing), Phase::Connect, &missing).await?;
    for entry in fs::read_dir(&scratch.folder)? {
        let name = entry?.file_name();
        assert!(!name.to_string_lossy().contains("missing"), "{name:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() -> Outcome {
    let scratch = Scratch::create().await;
    let folder = scratch.folder.join("folder.db");
    fs::create_dir(&folder)?;
    fails(&lazy(&folder), Phase::Connect, &folder).await
}

#[tokio::test]
async fn a_file_in_the_place_of_the_directory_is_named_and_left_alone() -> Outcome {
    let scratch = Scratch::create().await;
    fs::write(scratch.locks(), "mine")?;
    let failed = scratch.db().await.dlock(KEY).await;
    let error = failed.expect_err("there is no directory");
    let source = error.source().expect("it has a source").to_string();
    assert!(source.contains("app.db.dlock"), "{source}");
    assert!(source.contains("directory"), "{source}");
    assert_eq!(fs::read_to_string(scratch.locks())?, "mine");
    // Once it is out of the way, the same pool works.
    fs::remove_file(scratch.locks())?;
    let db = scratch.db().await;
    let guard = soon("the lock", db.dlock(KEY).into_future()).await??;
    Ok(guard.release().await?)
}

#[tokio::test]
async fn a_link_to_nowhere_in_the_place_of_the_directory_is_named() -> Outcome {
    let scratch = Scratch::create().await;
    symlink(scratch.folder.join("nowhere"), scratch.locks())?;
    fails(&scratch.db().await, Phase::Connect, &scratch.locks()).await?;
    assert!(!scratch.folder.join("nowhere").exists());
    Ok(())
}

/// Not even for root: with `.dlock` behind it the name is longer than a file system takes.
#[tokio::test]
async fn a_directory_that_cannot_be_created_is_named() -> Outcome {
    let scratch = Scratch::create().await;
    let file = scratch.folder.join("n".repeat(250));
    fs::write(&file, "")?;
    let directory = PathBuf::from(format!("{}.dlock", file.display()));
    fails(&lazy(&file), Phase::Connect, &directory).await
}

#[tokio::test]
async fn a_pool_whose_folder_was_removed_fails_and_works_when_it_is_back() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    db.dlock(KEY).await?.release().await?;
    fs::remove_dir_all(&scratch.folder)?;
    fails(&db, Phase::Acquire, &scratch.locks()).await?;
    fails(&lazy(&scratch.file()), Phase::Connect, &scratch.file()).await?;
    fs::create_dir(&scratch.folder)?;
    let guard = soon("the lock", db.dlock(KEY).into_future()).await??;
    Ok(guard.release().await?)
}

#[tokio::test]
async fn a_waiter_hears_that_the_folder_was_removed() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let guard = theirs.dlock(KEY).await?;
    let waiter = tokio::spawn(async move { ours.dlock(KEY).await });
    let turn = scratch.turn_file("42");
    eventually("it waits", async || Ok(turn.exists())).await?;
    fs::remove_dir_all(&scratch.folder)?;
    let failed = soon("the error", waiter).await??;
    assert!(matches!(failed, Err(Error::Database { .. })), "{failed:?}");
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    Ok(())
}

#[tokio::test]
async fn a_process_without_free_file_descriptors_hears_so_and_carries_on() -> Outcome {
    let scratch = Scratch::create().await;
    let mut peer = Peer::start_after("ulimit -n 40", &scratch.url()).await?;
    let mut held = Vec::new();
    let refused = loop {
        let key = held.len() as i64;
        peer.order(format!("try {key} {}", Way::PLAIN)).await?;
        match peer.answer().await? {
            answer if answer == "held" => held.push(key),
            answer => break answer,
        }
        assert!(held.len() < 40, "there is no limit");
    };
    assert!(refused.starts_with("error "), "{refused}");
    for key in held {
        peer.release(key).await?;
    }
    assert!(peer.try_hold(KEY, Way::PLAIN).await?);
    peer.release(KEY).await?;
    assert!(scratch.files().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_closed_connection_is_a_closed_pool() -> Outcome {
    let scratch = Scratch::create().await;
    let (db, theirs) = (scratch.db().await, scratch.db().await);
    let guard = db.dlock("held").await?;
    let _busy = theirs.dlock(KEY).await?;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(KEY).await }
    });
    waiting(&db, 1).await?;
    let pool = LockPool::of(&db);
    db.clone().close().await?;
    let refused = soon("the answer", waiter).await??;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    for refused in [
        db.dlock("other").await.map(drop),
        pool.dlock("other").try_acquire().await.map(drop),
        pool.locks().await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    }
    // A guard keeps what it holds for as long as it lives.
    assert!(guard.is_held());
    assert!(theirs.dlock("held").try_acquire().await?.is_none());
    guard.release().await?;
    assert!(theirs.dlock("held").try_acquire().await?.is_some());

    let never_used = connect(&scratch.url(), 1).await;
    never_used.clone().close().await?;
    let refused = never_used.dlock(KEY).await;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    Ok(())
}
