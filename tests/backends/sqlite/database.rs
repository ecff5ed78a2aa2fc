//! A database of a test's own, and its locks past dlock: the files, and what the operating system says of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use blake2::{Blake2b512, Digest};
use dlock_tests::connect;
use sea_orm::{ConnectionTrait, DatabaseConnection};

use crate::suite::{Outcome, Peer, eventually};

/// A new folder for temporary files.
pub(super) fn new_folder() -> PathBuf {
    let name = format!("dlock-test-{:016x}", fastrand::u64(..));
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

/// In a folder of its own, which goes with it.
pub(super) struct Scratch {
    pub(super) folder: PathBuf,
}

impl Scratch {
    pub(super) async fn create() -> Self {
        Self::in_folder(new_folder()).await
    }

    /// In this folder, which is there.
    pub(super) async fn in_folder(folder: PathBuf) -> Self {
        let scratch = Self { folder };
        let db = scratch.db().await;
        // Readers do not disturb a writer then. It stays so, whoever opens the database.
        let wal = db.execute_unprepared("PRAGMA journal_mode = WAL").await;
        wal.expect("SQLite knows WAL");
        scratch
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("app.db")
    }

    pub(super) fn url(&self) -> String {
        format!("sqlite:{}?mode=rwc", self.file().display())
    }

    /// Another process that uses it.
    pub(super) async fn peer(&self) -> Outcome<Peer> {
        Peer::start(&self.url()).await
    }

    /// Each time another application, with a lock pool of its own.
    pub(super) async fn db(&self) -> DatabaseConnection {
        connect(&self.url(), 4).await
    }

    /// Where the locks are.
    pub(super) fn locks(&self) -> PathBuf {
        self.folder.join("app.db.dlock")
    }

    /// The file of a lock.
    pub(super) fn lock_file(&self, name: &str) -> PathBuf {
        let digest = Blake2b512::digest(name);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.locks().join(digest)
    }

    /// The file of the turn to wait for a lock.
    pub(super) fn turn_file(&self, name: &str) -> PathBuf {
        self.lock_file(name).with_extension("wait")
    }

    /// Until the directory of locks is empty: who waits finishes what he began.
    pub(super) async fn until_empty(&self) -> Outcome {
        let empty = eventually("no file is left", async || Ok(self.files().is_empty())).await;
        empty.map_err(|failure| failure.but(&self.files().join(", ")))
    }

    /// The names of the files in the directory of locks.
    pub(super) fn files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.locks()) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// How many locks the operating system knows on this file.
pub(super) fn held(file: &Path) -> usize {
    let Ok(metadata) = fs::metadata(file) else {
        return 0;
    };
    let inode = format!(":{} 0 EOF", metadata.ino());
    // Its table moves while it is read, when others lock and unlock: one reading may miss a line or see it twice.
    let mut readings = [count(&inode), count(&inode), count(&inode)];
    while readings.iter().any(|reading| *reading != readings[0]) {
        readings.rotate_left(1);
        readings[2] = count(&inode);
    }
    readings[0]
}

fn count(inode: &str) -> usize {
    let table = fs::read_to_string("/proc/locks").expect("Linux");
    let on_it = |line: &&str| line.contains(" FLOCK ") && line.ends_with(inode);
    table.lines().filter(on_it).count()
}
