//! What the file system makes of hard links and inode numbers, tried on private files.
//!
//! FUSE file systems (bindfs, mergerfs, unionfs-fuse) can have an inode for each name of a file,
//! and the kernel keeps the locks on inodes: then a lock does not follow a hard link to the path
//! that others open. Some number their inodes by the path, so that a deleted file that is open and
//! the next one at its path look the same.
//!
//! The names are private. At a path that others know, another process could hold a lock by then, so
//! a refusal would prove nothing.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::flock::{Named, is_at, try_lock, unique};
use super::platform::{CAN_UNLINK, create_new, open};
use crate::error::Error;
use crate::mode::Mode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A file that is locked is locked by every name.
    LinksCarryLocks,
    /// A lock is on the name that the file was opened by, or there are no links.
    LinksCarryNoLocks,
    /// Inode numbers do not tell files apart.
    FilesAreConfused,
}

pub(super) const REFUSAL: Error = Error::refused(
    "a file system whose inode numbers do not tell a deleted file from the next one at its path",
    "an inode number for each file, by which a lock file is recognized",
    "mount it with inode numbers of the files (mergerfs: without `inodecalc=path-hash`), or keep \
     the database on a local file system",
);

pub(super) fn of(directory: &Path) -> io::Result<Found> {
    let path = unique(directory, "probe");
    let file = create_new(&path)?;
    let named = Named(&path);
    try_lock(&file, Mode::Exclusive)?;
    let carry_locks = links_carry_locks(directory, &path)?;
    let is_there = is_at(&file, &path)?;
    drop(named);
    Ok(match carry_locks {
        _ if !is_there || is_confused_with_next(&file, &path)? => Found::FilesAreConfused,
        true => Found::LinksCarryLocks,
        false => Found::LinksCarryNoLocks,
    })
}

/// Of a file that is locked at its path.
fn links_carry_locks(directory: &Path, locked: &Path) -> io::Result<bool> {
    let link = unique(directory, "probe");
    if fs::hard_link(locked, &link).is_err() {
        return Ok(false);
    }
    let _named = Named(&link);
    Ok(!try_lock(&open(&link)?, Mode::Exclusive)?)
}

/// Of a file that was unlinked from its path.
fn is_confused_with_next(unlinked: &File, path: &Path) -> io::Result<bool> {
    if !CAN_UNLINK {
        return Ok(false);
    }
    create_new(path)?;
    let _named = Named(path);
    is_at(unlinked, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_file_system_carries_locks_and_keeps_nothing_of_the_probe() {
        let name = format!("dlock-probe-{:016x}", fastrand::u64(..));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a directory");
        let found = of(&directory).expect("a probe");
        // It fails where something is left.
        fs::remove_dir(&directory).expect("an empty directory");
        assert_eq!(found, Found::LinksCarryLocks);
        assert!(of(&directory).is_err());
    }
}
