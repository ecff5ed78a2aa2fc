//! Who may use the database may use its locks: the directory has its owner, its group and its permissions.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use dlock::DLockExt;
use dlock_tests::Way;

use super::database::{Scratch, held};
use crate::suite::{Outcome, Peer, eventually};

const KEY: i64 = 42;
const NAME: &str = "42";
const SHARED: i64 = 43;
const SHARED_NAME: &str = "43";

fn mode(path: &Path) -> Outcome<u32> {
    Ok(fs::metadata(path)?.mode() & 0o7777)
}

fn owner(path: &Path) -> Outcome<(u32, u32)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.uid(), metadata.gid()))
}

/// Other processes with this mask hold an exclusive lock and a shared one, and wait for one.
async fn use_locks(scratch: &Scratch, mask: &str) -> Outcome<[Peer; 2]> {
    let umask = format!("umask {mask}");
    let mut holder = Peer::start_after(&umask, &scratch.url()).await?;
    holder.hold(KEY, Way::PLAIN).await?;
    holder.hold(SHARED, Way::SHARED).await?;
    let mut waiter = Peer::start_after(&umask, &scratch.url()).await?;
    waiter.wait_for(KEY).await?;
    let turn = scratch.turn_file(NAME);
    eventually("the turn is taken", async || Ok(held(&turn) == 1)).await?;
    Ok([holder, waiter])
}

/// Who may enter the directory may lock the files; all that takes is to read them.
async fn can_be_entered_like(database: u32, directory: u32) -> Outcome {
    for mask in ["000", "027", "077"] {
        let scratch = Scratch::create().await;
        fs::set_permissions(scratch.file(), Permissions::from_mode(database))?;
        let _peers = use_locks(&scratch, mask).await?;
        assert_eq!(mode(&scratch.locks())?, directory, "umask {mask}");
        for name in [NAME, SHARED_NAME] {
            assert_eq!(mode(&scratch.lock_file(name))?, 0o644, "umask {mask}");
        }
        // It is removed and made anew from time to time.
        let turn = scratch.turn_file(NAME);
        eventually("the turn is like the lock", async || {
            Ok(mode(&turn).is_ok_and(|mode| mode == 0o644))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_locks_of_a_database_for_its_group_are_for_its_group() -> Outcome {
    can_be_entered_like(0o660, 0o770).await
}

#[tokio::test]
async fn the_locks_of_a_database_that_all_may_read_can_be_read_by_all() -> Outcome {
    can_be_entered_like(0o644, 0o755).await
}

#[tokio::test]
async fn the_locks_of_a_private_database_are_private() -> Outcome {
    can_be_entered_like(0o600, 0o700).await
}

#[tokio::test]
async fn permissions_that_are_given_later_count_for_the_next_session() -> Outcome {
    let scratch = Scratch::create().await;
    fs::set_permissions(scratch.file(), Permissions::from_mode(0o600))?;
    scratch.db().await.dlock(KEY).await?.release().await?;
    assert_eq!(mode(&scratch.locks())?, 0o700);
    fs::set_permissions(scratch.file(), Permissions::from_mode(0o660))?;
    // The bit that hands the group on stays.
    fs::set_permissions(scratch.locks(), Permissions::from_mode(0o2700))?;
    scratch.db().await.dlock(KEY).await?.release().await?;
    assert_eq!(mode(&scratch.locks())?, 0o2770);
    Ok(())
}

/// Ourselves and, where we are root, somebody who is not: he owns the database.
fn two_users(scratch: &Scratch) -> Outcome<[u32; 2]> {
    const NOBODY: u32 = 65_534;
    let (ourselves, _) = owner(&scratch.folder)?;
    if ourselves != 0 {
        return Ok([ourselves; 2]);
    }
    for file in ["", "app.db", "app.db-wal", "app.db-shm"] {
        let file = scratch.folder.join(file);
        if file.exists() {
            chown(file, Some(NOBODY), Some(NOBODY))?;
        }
    }
    Ok([ourselves, NOBODY])
}

#[tokio::test]
async fn two_users_of_a_database_get_its_locks_whoever_is_first() -> Outcome {
    for swapped in [false, true] {
        let scratch = Scratch::create().await;
        let mut users = two_users(&scratch)?;
        if swapped {
            users.reverse();
        }
        let program = scratch.folder.join("peer");
        let [first, second] = users;
        let mut first = Peer::start_as(first, &program, &scratch.url()).await?;
        first.hold(KEY, Way::PLAIN).await?;
        first.hold(SHARED, Way::SHARED).await?;
        let mut second = Peer::start_as(second, &program, &scratch.url()).await?;
        assert!(!second.try_hold(KEY, Way::PLAIN).await?);
        assert!(second.try_hold(SHARED, Way::SHARED).await?);
        // What it held it leaves behind as files.
        first.kill().await?;
        second.hold(KEY, Way::PLAIN).await?;
        second.release(SHARED).await?;
        second.hold(SHARED, Way::PLAIN).await?;
        second.release(SHARED).await?;
        second.release(KEY).await?;
        scratch.until_empty().await?;
        let owners = (owner(&scratch.locks())?, owner(&scratch.file())?);
        assert_eq!(owners.0, owners.1);
    }
    Ok(())
}
