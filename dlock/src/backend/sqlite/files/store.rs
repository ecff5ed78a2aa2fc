//! The locks of one database file, in a directory beside it.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sea_orm::DbErr;

use super::flock::{Named, give_back, is_at, try_lock, unique};
use super::platform::{CAN_UNLINK, create_new, is_too_many_files, open, share, show};
use super::probe::Found;
use super::{listing, probe, sole_name};
use crate::backend::inline::{LONGEST_TURN, Listing, Place};
use crate::backend::session::Hold;
use crate::backend::sqlite::keys::file_name;
use crate::error::{Error, Phase};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// A waiter's turn is the lock on another file, whose name is that of the lock's file with this
/// suffix.
const TURN: &str = "wait";

/// So many times in a row a file may be unlinked just before it was locked.
const MAX_TRIES: usize = 1000;

/// The locks of one database file, in a directory beside it.
pub(crate) struct Files {
    directory: PathBuf,
    database: Metadata,
    /// Where this session makes its files, one after the other. Always the same name, since a
    /// directory grows with each new one.
    workbench: Mutex<PathBuf>,
    links_carry_locks: bool,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.directory).finish()
    }
}

impl Files {
    /// Creates the directory `<database>.dlock`, unless it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where another process can find other locks for the same database, or
    /// where the file system does not tell files apart.
    pub(crate) fn beside(database: &Path) -> Result<Self, Error> {
        let connect = |path: &Path, error| Phase::Connect.failed(failed(path, &error));
        let metadata = fs::metadata(database).map_err(|error| connect(database, error))?;
        sole_name::check(database, &metadata)?;
        let mut directory = database.as_os_str().to_owned();
        directory.push(".dlock");
        let directory = PathBuf::from(directory);
        let mut files = Self {
            workbench: Mutex::new(unique(&directory, "new")),
            directory,
            database: metadata,
            links_carry_locks: false,
        };
        let prepared = files.prepare_directory();
        prepared.map_err(|error| connect(&files.directory, error))?;
        // One that fails decides nothing: a lock through the path is a lock on every file system.
        match probe::of(&files.directory) {
            Ok(Found::FilesAreConfused) => return Err(probe::REFUSAL),
            found => files.links_carry_locks = matches!(found, Ok(Found::LinksCarryLocks)),
        }
        Ok(files)
    }

    /// Who may use the database may use its locks, also when that has changed.
    fn prepare_directory(&self) -> io::Result<()> {
        match fs::create_dir(&self.directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        share(&self.directory, &self.database)
    }

    fn lock_path(&self, key: &PhysicalKey) -> PathBuf {
        self.directory.join(file_name(key))
    }

    fn turn_path(&self, key: &PhysicalKey) -> PathBuf {
        self.lock_path(key).with_extension(TURN)
    }

    fn try_file(&self, path: PathBuf, text: &str, mode: Mode) -> io::Result<Option<LockFile>> {
        for _ in 0..MAX_TRIES {
            let file = match open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let created = self.create(&path, text, mode)?;
                    if let Some(file) = created {
                        return Ok(Some(LockFile { file, path, mode }));
                    }
                    continue;
                }
                opened => opened?,
            };
            let taken = try_lock(&file, mode)?;
            if is_at(&file, &path)? {
                return Ok(taken.then(|| LockFile { file, path, mode }));
            }
            give_back(&file);
        }
        Err(io::Error::other(
            "this file was replaced each time before it was locked, or its inode number is never \
             the same; keep the database on a local file system",
        ))
    }

    /// The file is readable, has its text and, where links carry locks, is locked when it comes to
    /// its path. `None`: one is there that has to be locked, or the directory was gone.
    fn create(&self, path: &Path, text: &str, mode: Mode) -> io::Result<Option<File>> {
        let workbench = self
            .workbench
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let new = workbench.as_path();
        let file = match create_new(new) {
            Ok(file) => file,
            Err(error) => match error.kind() {
                ErrorKind::NotFound => return self.prepare_directory().map(|()| None),
                ErrorKind::AlreadyExists => return fs::remove_file(new).map(|()| None),
                _ => return Err(error),
            },
        };
        let _named = Named(new);
        inscribe(&file, text);
        if self.links_carry_locks {
            try_lock(&file, mode)?;
        }
        match fs::hard_link(new, path) {
            Ok(()) => Ok(self.links_carry_locks.then_some(file)),
            Err(error) => match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::NotFound => Ok(None),
                // A file system without hard links: it is made at its path, and the first
                // process locks it.
                _ => match create_new(path) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                    created => {
                        created.iter().for_each(|file| inscribe(file, text));
                        Ok(None)
                    }
                },
            },
        }
    }
}

/// For others: who can enter the directory can read it. On a full disk the lock is as good without
/// its text.
fn inscribe(mut file: &File, text: &str) {
    show(file);
    drop(file.write_all(text.as_bytes()));
}

fn is_taken(turn: &Path) -> io::Result<bool> {
    let file = open(turn)?;
    // One from the future is young.
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    if age >= LONGEST_TURN {
        return Ok(false);
    }
    let free = try_lock(&file, Mode::Shared)?;
    if free {
        give_back(&file);
    }
    Ok(!free)
}

fn failed(path: &Path, error: &io::Error) -> DbErr {
    let way_out = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; SQLite's locks are files in a directory beside the database: every process that uses them must be able to write there"
        }
        ErrorKind::NotADirectory => {
            "; SQLite's locks are files in a directory of that name: move what is there away"
        }
        _ if is_too_many_files(error) => {
            "; each lock that is held is an open file: raise the limit (`ulimit -n`), or hold fewer locks"
        }
        _ => "",
    };
    DbErr::Custom(format!("{}: {error}{way_out}", path.display()))
}

impl Place for Files {
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> Result<Option<Box<dyn Hold>>, DbErr> {
        let path = self.lock_path(key);
        let taken = self.try_file(path.clone(), &key.to_string(), mode);
        let taken = taken.map_err(|error| failed(&path, &error))?;
        Ok(taken.map(|held| Box::new(held) as Box<dyn Hold>))
    }

    fn try_turn(&self, key: &PhysicalKey) -> Option<Box<dyn Hold>> {
        let taken = self.try_file(self.turn_path(key), "", Mode::Exclusive);
        let turn = taken.ok().flatten()?;
        Some(Box::new(turn))
    }

    fn is_awaited(&self, key: &PhysicalKey) -> bool {
        is_taken(&self.turn_path(key)).unwrap_or(false)
    }

    fn listing(&self) -> Result<Listing, DbErr> {
        listing::of(&self.directory).map_err(|error| failed(&self.directory, &error))
    }
}

/// A lock that is held, or a turn.
struct LockFile {
    file: File,
    path: PathBuf,
    mode: Mode,
}

impl Hold for LockFile {
    fn is_in_place(&self) -> Result<bool, DbErr> {
        is_at(&self.file, &self.path).map_err(|error| failed(&self.path, &error))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Before the file is given back: afterwards another process may hold it.
        if CAN_UNLINK
            && self.mode == Mode::Exclusive
            && is_at(&self.file, &self.path).unwrap_or(false)
        {
            drop(fs::remove_file(&self.path));
        }
        give_back(&self.file);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::flock::explained;
    use super::*;

    /// No file system of a test machine refuses a lock, so the errors are those of `flock(2)`.
    #[test]
    fn a_file_system_without_locks_is_named_with_what_locks_need() {
        for code in [libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOLCK] {
            let error = explained(io::Error::from_raw_os_error(code));
            let text = failed(Path::new("/net/a.db.dlock/k"), &error).to_string();
            assert!(text.contains("/net/a.db.dlock/k"), "{text}");
            assert!(text.contains("need a local file system"), "{text}");
        }
        let another = explained(io::Error::from_raw_os_error(libc::EIO));
        let text = failed(Path::new("k"), &another).to_string();
        assert!(!text.contains("local file system"), "{text}");
    }
}
