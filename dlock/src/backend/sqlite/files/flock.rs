//! A lock on a file, and whether the file is at its path.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::platform::{has_no_locks, is_same};
use crate::mode::Mode;

/// Takes the name away from a file that has come to its path, or never will.
pub(super) struct Named<'a>(pub(super) &'a Path);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0));
    }
}

/// A path that nobody else uses.
pub(super) fn unique(directory: &Path, extension: &str) -> PathBuf {
    directory.join(format!("{:032x}.{extension}", fastrand::u128(..)))
}

pub(super) fn try_lock(file: &File, mode: Mode) -> io::Result<bool> {
    let locked = match mode {
        Mode::Exclusive => file.try_lock(),
        Mode::Shared => file.try_lock_shared(),
        another => unreachable!("BUG: SQLite has no {another} locks"),
    };
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(explained(error)),
    }
}

/// An error of `flock`.
pub(super) fn explained(error: io::Error) -> io::Error {
    match has_no_locks(&error) {
        true => {
            let why = "this file system has no file locks (`flock`), or no room for another one: \
                       SQLite's locks need a local file system";
            io::Error::new(error.kind(), format!("{error}; {why}"))
        }
        false => error,
    }
}

/// Not by closing it: a process that is just being started has inherited the file, and closes it
/// only when it runs.
pub(super) fn give_back(file: &File) {
    drop(file.unlock());
}

pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(is_same(&file.metadata()?, &there)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
