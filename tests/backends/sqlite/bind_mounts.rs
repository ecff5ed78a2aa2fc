//! A database that is mounted somewhere else, as into a container.
//!
//! `tests/run` lists these tests as not run where this account may not mount.

use std::fs::{self, File};

use dlock::DLockExt;
use dlock_tests::Way;

use super::database::Scratch;
use super::mount::{Folder, Mount};
use super::other_names::{database, is_refused};
use crate::suite::{Outcome, Peer};

const KEY: i64 = 42;

#[tokio::test]
async fn the_file_alone_is_refused_where_it_is_mounted() -> Outcome {
    let (scratch, container) = (Scratch::create().await, Folder::create());
    let data = container.directory("data")?;
    let file = data.join("app.db");
    File::create(&file)?;
    let mount = Mount::bind(&scratch.file(), file.clone())?;
    let db = database(&file).await;
    is_refused(&db, "mounted by itself", "mount the directory").await;
    assert!(!data.join("app.db.dlock").exists());
    drop(mount);

    // What lies beneath, and what was mounted, are ordinary files.
    db.dlock(KEY).await?.release().await?;
    scratch.db().await.dlock(KEY).await?.release().await?;
    Ok(())
}

#[tokio::test]
async fn its_directory_has_the_same_locks_everywhere() -> Outcome {
    let (scratch, container) = (Scratch::create().await, Folder::create());
    let data = container.directory("data")?;
    let _mount = Mount::bind(&scratch.folder, data.clone())?;
    let file = data.join("app.db");
    let (outside, inside) = (scratch.db().await, database(&file).await);
    let url = format!("sqlite:{}", file.display());
    let mut peer = Peer::start(&url).await?;

    let guard = outside.dlock(KEY).await?;
    assert!(inside.dlock(KEY).try_acquire().await?.is_none());
    assert!(!peer.try_hold(KEY, Way::SHARED).await?);
    guard.release().await?;
    peer.hold(KEY, Way::PLAIN).await?;
    assert!(outside.dlock(KEY).try_acquire().await?.is_none());
    peer.release(KEY).await?;
    inside.dlock(KEY).pinned().await?.release().await?;
    assert_eq!(fs::read_dir(scratch.locks())?.count(), 0);
    Ok(())
}
