//! Somebody else may own the directory, and put there what is no lock file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use tokio::time::timeout;

use super::database::Scratch;
use crate::suite::Outcome;

const KEY: i64 = 42;
const NAME: &str = "42";
const PROMPTLY: Duration = Duration::from_secs(3);

fn pipe(path: &Path) -> Outcome {
    assert!(Command::new("mkfifo").arg(path).status()?.success());
    Ok(())
}

/// A database whose directory of locks is there.
async fn scratch() -> Outcome<Scratch> {
    let scratch = Scratch::create().await;
    scratch.db().await.dlock(0).await?.release().await?;
    Ok(scratch)
}

async fn is_refused(scratch: &Scratch) -> Outcome {
    let refused = timeout(PROMPTLY, scratch.db().await.dlock(KEY).into_future()).await?;
    assert!(
        matches!(refused, Err(Error::Database { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn no_link_is_followed() -> Outcome {
    let scratch = scratch().await?;
    let target = scratch.folder.join("target");
    symlink(&target, scratch.lock_file(NAME))?;
    is_refused(&scratch).await?;
    assert!(!target.exists());
    fs::write(&target, "mine")?;
    is_refused(&scratch).await?;
    assert_eq!(fs::read_to_string(&target)?, "mine");
    assert_eq!(LockPool::of(&scratch.db().await).locks().await?, []);
    Ok(())
}

#[tokio::test]
async fn a_directory_of_locks_elsewhere_is_refused() -> Outcome {
    let scratch = Scratch::create().await;
    let elsewhere = scratch.folder.join("elsewhere");
    fs::create_dir(&elsewhere)?;
    symlink(&elsewhere, scratch.locks())?;
    is_refused(&scratch).await?;
    assert_eq!(fs::read_dir(&elsewhere)?.count(), 0);
    Ok(())
}

#[tokio::test]
async fn nobody_waits_for_a_pipe() -> Outcome {
    let locked = scratch().await?;
    pipe(&locked.lock_file(NAME))?;
    is_refused(&locked).await?;

    // A turn is for courtesy: without one a lock is a lock.
    let awaited = scratch().await?;
    pipe(&awaited.turn_file(NAME))?;
    let (db, theirs) = (awaited.db().await, awaited.db().await);
    let guard = timeout(PROMPTLY, db.dlock(KEY).into_future()).await??;
    let limit = Duration::from_millis(100);
    let waited = theirs.dlock(KEY).timeout(limit).await;
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    guard.release().await?;
    let guard = theirs.dlock(KEY).timeout(PROMPTLY).await?;
    Ok(guard.release().await?)
}
