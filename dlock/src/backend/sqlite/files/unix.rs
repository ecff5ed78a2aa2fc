//! What the standard library offers on Unix only.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use libc::{EMFILE, ENFILE, ENOLCK, ENOSYS, EOPNOTSUPP, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};

pub(super) const CAN_UNLINK: bool = true;

/// A regular file that is there. Somebody else may own the directory: no link is followed, and no
/// pipe waited for.
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

/// How many hard links it has.
pub(super) fn names(file: &Metadata) -> Option<u64> {
    Some(file.nlink())
}

/// What a directory is on, as `/proc/locks` names it. Its metadata can have another number: those
/// of btrfs and overlayfs do.
pub(super) fn device(directory: &Path) -> Option<String> {
    let directory = File::open(directory).ok()?;
    let info = format!("/proc/self/fdinfo/{}", directory.as_raw_fd());
    let info = fs::read_to_string(info).ok()?;
    let mut lines = info.lines();
    let mount = lines.find_map(|line| line.strip_prefix("mnt_id:"))?;
    device_of(
        mount.trim(),
        &fs::read_to_string("/proc/self/mountinfo").ok()?,
    )
}

/// The third word of the mount's line, in hexadecimal: `42 27 0:39 / /mnt rw - fuse ..`
/// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
fn device_of(mount: &str, mounts: &str) -> Option<String> {
    let mut lines = mounts.lines().map(str::split_whitespace);
    let number = lines.find_map(|mut words| (words.next()? == mount).then(|| words.nth(1))?)?;
    let (major, minor) = number.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(format!("{major:02x}:{minor:02x}"))
}

/// Whatever the umask.
pub(super) fn show(file: &File) {
    let shown = |metadata: Metadata| metadata.mode() & 0o777 == 0o644;
    if !file.metadata().is_ok_and(shown) {
        drop(file.set_permissions(Permissions::from_mode(0o644)));
    }
}

/// As SQLite does with its journals: a directory gets the owner, the group and the permissions of
/// the database, as far as this process may.
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

/// Whether this error of `flock` means that it has no locks here, or no room for one.
/// <https://man7.org/linux/man-pages/man2/flock.2.html>
pub(super) fn has_no_locks(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOSYS | EOPNOTSUPP | ENOLCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_as_in_the_table_of_locks() {
        let mounts = "27 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      4 27 0:5 / /dev rw - devtmpfs none rw\n\
                      42 27 0:39 / /mnt rw - fuse /low rw\n";
        assert_eq!(device_of("42", mounts).as_deref(), Some("00:27"));
        assert_eq!(device_of("27", mounts).as_deref(), Some("fe:00"));
        assert_eq!(device_of("2", mounts), None);
    }
}
