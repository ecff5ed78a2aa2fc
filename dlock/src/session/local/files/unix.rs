//! What the standard library offers on Unix only.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use libc::{EMFILE, ENFILE, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};

pub(super) const CAN_UNLINK: bool = true;

/// A regular file that is there. Somebody else may own the directory: no link is followed, and no pipe waited for.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        )),
    }
}

pub(super) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
}

pub(super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

pub(super) fn inode(file: &Metadata) -> Option<u64> {
    Some(file.ino())
}

/// Whatever the umask.
pub(super) fn show(file: &File) {
    let shown = |metadata: Metadata| metadata.mode() & 0o777 == 0o644;
    if !file.metadata().is_ok_and(shown) {
        drop(file.set_permissions(Permissions::from_mode(0o644)));
    }
}

/// As SQLite does with its journals: a directory gets the owner, the group and the permissions of the database, as far as this process may.
pub(super) fn share(directory: &Path, database: &Metadata) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let directory = options
        .read(true)
        .custom_flags(O_NOFOLLOW | O_DIRECTORY)
        .open(directory)?;
    let own = directory.metadata()?;
    if own.gid() != database.gid() {
        drop(fchown(&directory, None, Some(database.gid())));
    }
    if own.uid() != database.uid() {
        drop(fchown(&directory, Some(database.uid()), None));
    }
    let read_write = database.mode() & 0o666 | 0o600;
    let enter = (read_write & 0o444) >> 2;
    let mode = own.mode() & 0o7000 | read_write | enter;
    if own.mode() & 0o7777 != mode {
        drop(directory.set_permissions(Permissions::from_mode(mode)));
    }
    Ok(())
}

pub(super) fn is_too_many_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}
