//! What the standard library offers on Unix only.

#[cfg(not(unix))]
pub(super) use self::elsewhere::*;
#[cfg(unix)]
pub(super) use self::unix::*;

#[cfg(unix)]
mod unix {
    use std::fs::{File, Metadata, OpenOptions, Permissions};
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
    use std::path::Path;

    use libc::{EMFILE, ENFILE, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};

    pub(in super::super) const CAN_UNLINK: bool = true;

    /// A regular file that is there. Somebody else may own the directory: no link is followed, and no pipe waited for.
    pub(in super::super) fn open(path: &Path) -> io::Result<File> {
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

    pub(in super::super) fn create_new(path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
    }

    pub(in super::super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }

    pub(in super::super) fn inode(file: &Metadata) -> Option<u64> {
        Some(file.ino())
    }

    /// Whatever the umask.
    pub(in super::super) fn show(file: &File) {
        let shown = |metadata: Metadata| metadata.mode() & 0o777 == 0o644;
        if !file.metadata().is_ok_and(shown) {
            drop(file.set_permissions(Permissions::from_mode(0o644)));
        }
    }

    /// As SQLite does with its journals: a directory gets the owner, the group and the permissions of the database, as far as this process may.
    pub(in super::super) fn share(directory: &Path, database: &Metadata) -> io::Result<()> {
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

    pub(in super::super) fn is_too_many_files(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
    }
}

/// Where files cannot be told apart by their metadata, none is ever unlinked.
#[cfg(not(unix))]
mod elsewhere {
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    pub(in super::super) const CAN_UNLINK: bool = false;

    pub(in super::super) fn open(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(in super::super) fn create_new(path: &Path) -> io::Result<File> {
        File::create_new(path)
    }

    pub(in super::super) fn is_same(_: &Metadata, _: &Metadata) -> bool {
        true
    }

    pub(in super::super) fn inode(_: &Metadata) -> Option<u64> {
        None
    }

    pub(in super::super) fn show(_: &File) {}

    pub(in super::super) fn share(_: &Path, _: &Metadata) -> io::Result<()> {
        Ok(())
    }

    pub(in super::super) fn is_too_many_files(_: &io::Error) -> bool {
        false
    }
}
