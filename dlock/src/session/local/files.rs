//! Locks of one host, as file locks. The operating system gives back what a process held, however it ends.
//!
//! A lock is held by whoever has the lock on the file that is at its path *after* it was taken: a file that was unlinked in between is nobody's. Only an exclusive
//! holder unlinks, since he alone knows that nobody else holds. Two handles exclude each other within a process, too.

mod listing;
mod platform;

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::DbErr;

use self::platform::{CAN_UNLINK, is_same, share};
use super::{Hold, Place};
use crate::dialect::sqlite::file_name;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::ServerLock;

/// The turn of somebody who waits is the lock on another file, named for the lock's with this behind it.
const TURN: &str = "wait";

/// A turn is taken anew every two seconds: an older one belongs to a process that stands still, and is ignored.
const LONGEST_TURN: Duration = Duration::from_secs(5);

/// The locks of one database file, in a directory beside it.
pub(crate) struct Files {
    directory: PathBuf,
    /// Who may use the database may use its locks.
    database: Metadata,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.directory).finish()
    }
}

impl Files {
    /// Creates the directory `<database>.dlock`, unless it is there.
    pub(crate) fn beside(database: &Path) -> Result<Self, DbErr> {
        let metadata = fs::metadata(database).map_err(|error| failed(database, &error))?;
        let mut directory = database.as_os_str().to_owned();
        directory.push(".dlock");
        let files = Self {
            directory: directory.into(),
            database: metadata,
        };
        let created = files.create_directory();
        created.map_err(|error| failed(&files.directory, &error))?;
        Ok(files)
    }

    fn create_directory(&self) -> io::Result<()> {
        match fs::create_dir(&self.directory) {
            Ok(()) => {
                share(&self.directory, &self.directory.metadata()?, &self.database);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn lock_path(&self, key: &PhysicalKey) -> PathBuf {
        self.directory.join(file_name(key))
    }

    fn turn_path(&self, key: &PhysicalKey) -> PathBuf {
        self.lock_path(key).with_extension(TURN)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        match options.open(path) {
            // Somebody has tidied up.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.create_directory()?;
                options.open(path)
            }
            opened => opened,
        }
    }

    fn try_file(
        &self,
        path: PathBuf,
        key: &PhysicalKey,
        mode: Mode,
    ) -> io::Result<Option<LockFile>> {
        loop {
            let file = self.open(&path)?;
            let taken = try_lock(&file, mode)?;
            let metadata = file.metadata()?;
            if !is_at(&metadata, &path)? {
                continue;
            }
            if !taken {
                return Ok(None);
            }
            let held = LockFile { file, path, mode };
            if metadata.len() == 0 {
                share(&held.path, &metadata, &self.database);
                // For people who look: on a full disk the lock is as good without.
                drop((&held.file).write_all(key.to_string().as_bytes()));
            }
            return Ok(Some(held));
        }
    }

    fn take(
        &self,
        path: PathBuf,
        key: &PhysicalKey,
        mode: Mode,
    ) -> Result<Option<Box<dyn Hold>>, DbErr> {
        let taken = self.try_file(path.clone(), key, mode);
        let taken = taken.map_err(|error| failed(&path, &error))?;
        Ok(taken.map(|held| Box::new(held) as Box<dyn Hold>))
    }
}

fn try_lock(file: &File, mode: Mode) -> io::Result<bool> {
    let locked = match mode {
        Mode::Exclusive => file.try_lock(),
        Mode::Shared => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn failed(path: &Path, error: &io::Error) -> DbErr {
    let path = path.display();
    DbErr::Custom(format!(
        "{path}: {error}; SQLite's locks are files in a directory beside the database, where every process that uses them must be able to write"
    ))
}

fn age(file: &File) -> io::Result<Duration> {
    let modified = file.metadata()?.modified()?;
    // One from the future is young.
    Ok(modified.elapsed().unwrap_or_default())
}

fn is_somebodys(turn: &Path) -> io::Result<bool> {
    match File::open(turn) {
        Ok(file) => Ok(age(&file)? < LONGEST_TURN && !try_lock(&file, Mode::Shared)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Place for Files {
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> Result<Option<Box<dyn Hold>>, DbErr> {
        self.take(self.lock_path(key), key, mode)
    }

    fn try_turn(&self, key: &PhysicalKey) -> Result<Option<Box<dyn Hold>>, DbErr> {
        self.take(self.turn_path(key), key, Mode::Exclusive)
    }

    fn is_awaited(&self, key: &PhysicalKey) -> Result<bool, DbErr> {
        let turn = self.turn_path(key);
        is_somebodys(&turn).map_err(|error| failed(&turn, &error))
    }

    fn locks(&self) -> Result<Vec<ServerLock>, DbErr> {
        listing::of(&self.directory).map_err(|error| failed(&self.directory, &error))
    }
}

/// A lock that is held, or a turn.
struct LockFile {
    file: File,
    path: PathBuf,
    mode: Mode,
}

impl LockFile {
    fn is_at_its_path(&self) -> io::Result<bool> {
        is_at(&self.file.metadata()?, &self.path)
    }
}

impl Hold for LockFile {
    fn is_in_place(&self) -> Result<bool, DbErr> {
        self.is_at_its_path()
            .map_err(|error| failed(&self.path, &error))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Before the file is closed: afterwards it may be somebody else's.
        if CAN_UNLINK
            && self.mode == Mode::Exclusive
            && self.is_at_its_path().is_ok_and(|it_is| it_is)
        {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn is_at(file: &Metadata, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok(is_same(file, &there)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
