//! Mounts of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::database::{Scratch, new_folder};
use crate::suite::{Failure, Outcome};

/// Unmounted when it is dropped, also by a test that fails.
pub(super) struct Mount {
    point: PathBuf,
}

impl Mount {
    /// Shows a file or directory at another path, where one of its kind is there.
    pub(super) fn bind(source: &Path, point: PathBuf) -> Outcome<Self> {
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(source).arg(&point);
        Self::by(&mut mount, point)
    }

    /// Shows a directory at another path through the FUSE file system of this command.
    fn fuse(command: &[&str], source: &Path, point: PathBuf) -> Outcome<Self> {
        let mut mount = Command::new(command[0]);
        mount.args(&command[1..]).arg(source).arg(&point);
        Self::by(&mut mount, point)
    }

    fn by(command: &mut Command, point: PathBuf) -> Outcome<Self> {
        // bindfs goes on in the background: it must not keep the output of the test open.
        let status = command.stdout(Stdio::null()).status()?;
        match status.success() {
            true => Ok(Self { point }),
            false => Err(Failure::new(format!("{command:?}: {status}"))),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, also with open files: the first command needs root, the others do not.
        let ways = [
            ["umount", "--lazy"],
            ["fusermount", "-uz"],
            ["fusermount3", "-uz"],
        ];
        let unmounted = ways.iter().any(|[program, option]| {
            let mut unmount = Command::new(program);
            unmount.arg(option).arg(&self.point).stderr(Stdio::null());
            unmount.status().is_ok_and(|status| status.success())
        });
        if !unmounted {
            eprintln!("{} is still mounted", self.point.display());
        }
    }
}

/// A folder of its own, which goes with it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn create() -> Self {
        Self(new_folder())
    }

    /// A new directory in it.
    pub(super) fn directory(&self, name: &str) -> Outcome<PathBuf> {
        let directory = self.0.join(name);
        fs::create_dir(&directory)?;
        Ok(directory)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A database that all use through one FUSE mount.
pub(super) struct Mounted {
    // In the order in which they go.
    pub(super) scratch: Scratch,
    _mount: Mount,
    _folder: Folder,
}

impl Mounted {
    pub(super) async fn create(command: &[&str]) -> Outcome<Self> {
        let folder = Folder::create();
        let (below, point) = (folder.directory("below")?, folder.directory("mounted")?);
        let mount = Mount::fuse(command, &below, point.clone())?;
        Ok(Self {
            scratch: Scratch::in_folder(point).await,
            _mount: mount,
            _folder: folder,
        })
    }
}
