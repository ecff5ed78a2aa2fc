//! A database file that has other names in other directories, where other processes would look for
//! its locks. The path that SQLite reports has no symbolic links, so those are no other names.

use std::fs::Metadata;
use std::path::Path;

use super::platform::names;
use crate::error::Error;

/// Refuses a file that has several hard links, or is mounted without its directory.
pub(super) fn check(database: &Path, metadata: &Metadata) -> Result<(), Error> {
    judge(database, names(metadata), is_mount_root(database))
}

fn judge(database: &Path, names: Option<u64>, is_mount_root: bool) -> Result<(), Error> {
    let database = database.display();
    let (found, way_out) = match names {
        _ if is_mount_root => (
            format!("the database file {database}, which is mounted by itself"),
            "mount the directory that contains the database in its place",
        ),
        Some(names) if names > 1 => (
            format!("the database file {database}, which has {names} names (hard links)"),
            "remove the other names of the file (`find -samefile` finds them); a symbolic link does \
             no harm",
        ),
        _ => return Ok(()),
    };
    Err(Error::Refused {
        found: found.into(),
        expected: "one directory for all processes, since SQLite's locks are files beside the \
                   database"
            .into(),
        way_out,
    })
}

/// As far as the kernel tells: Linux since 5.8, where no seccomp filter forbids the question.
#[cfg(target_os = "linux")]
fn is_mount_root(file: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

    let root = StatxAttributes::MOUNT_ROOT;
    statx(CWD, file, AtFlags::empty(), StatxFlags::empty()).is_ok_and(|found| {
        let known = found.stx_attributes_mask.contains(root);
        known && found.stx_attributes.contains(root)
    })
}

#[cfg(not(target_os = "linux"))]
fn is_mount_root(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(names: Option<u64>, is_mount_root: bool) -> Option<String> {
        let judged = judge(Path::new("/data/app.db"), names, is_mount_root);
        judged.err().map(|error| error.to_string())
    }

    #[test]
    fn a_file_with_one_name_is_right() {
        assert_eq!(refusal(Some(1), false), None);
        // Where the metadata does not tell, and where the file was deleted.
        assert_eq!(refusal(None, false), None);
        assert_eq!(refusal(Some(0), false), None);
    }

    #[test]
    fn a_refusal_names_the_file_and_the_way_out() {
        for (names, is_mount_root, found, way_out) in [
            (Some(2), false, "2 names", "remove the other names"),
            (Some(1), true, "mounted by itself", "mount the directory"),
            (None, true, "mounted by itself", "mount the directory"),
        ] {
            let words = refusal(names, is_mount_root).expect("a refusal");
            assert!(words.contains("/data/app.db"), "{words}");
            assert!(words.contains(found) && words.contains(way_out), "{words}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_knows_a_mount() {
        assert!(is_mount_root(Path::new("/proc")));
        assert!(!is_mount_root(Path::new("/proc/version")));
        assert!(!is_mount_root(Path::new("/proc/none")));
    }
}
