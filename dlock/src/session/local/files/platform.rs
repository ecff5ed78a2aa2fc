//! What the standard library offers on Unix only. Where files cannot be told apart by their metadata, none is ever unlinked.

#[cfg(not(unix))]
pub(super) use self::elsewhere::{CAN_UNLINK, inode, is_same, share};
#[cfg(unix)]
pub(super) use self::unix::{CAN_UNLINK, inode, is_same, share};

#[cfg(unix)]
mod unix {
    use std::fs::{self, Metadata, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::path::Path;

    pub(in super::super) const CAN_UNLINK: bool = true;

    pub(in super::super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }

    pub(in super::super) fn inode(file: &Metadata) -> Option<u64> {
        Some(file.ino())
    }

    /// As SQLite does with its journals: the owner, the group and the permissions of the database, whatever the umask; as far as this process may.
    pub(in super::super) fn share(path: &Path, own: &Metadata, database: &Metadata) {
        if (own.uid(), own.gid()) != (database.uid(), database.gid()) {
            drop(chown(path, Some(database.uid()), Some(database.gid())));
        }
        let read_write = database.mode() & 0o666 | 0o600;
        let mode = match own.is_dir() {
            true => read_write | (read_write & 0o444) >> 2,
            false => read_write,
        };
        if own.mode() & 0o777 != mode {
            drop(fs::set_permissions(path, Permissions::from_mode(mode)));
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::fs::Metadata;
    use std::path::Path;

    pub(in super::super) const CAN_UNLINK: bool = false;

    pub(in super::super) fn is_same(_: &Metadata, _: &Metadata) -> bool {
        true
    }

    pub(in super::super) fn inode(_: &Metadata) -> Option<u64> {
        None
    }

    pub(in super::super) fn share(_: &Path, _: &Metadata, _: &Metadata) {}
}
