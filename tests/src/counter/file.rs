//! The number where an application has no connection: a file for temporary ones, of this host's processes.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sea_orm::DbErr;

pub(super) fn create(name: &str) -> Result<(), DbErr> {
    let created = File::create_new(path(name)).and_then(|file| put(&file, 0));
    created.map_err(failed)
}

pub(super) fn remove(name: &str) -> Result<(), DbErr> {
    std::fs::remove_file(path(name)).map_err(failed)
}

pub(super) fn read(name: &str) -> Result<i64, DbErr> {
    let mut bytes = [0; size_of::<i64>()];
    let read = File::open(path(name)).and_then(|file| file.read_exact_at(&mut bytes, 0));
    read.map(|()| i64::from_ne_bytes(bytes)).map_err(failed)
}

pub(super) fn write(name: &str, n: i64) -> Result<(), DbErr> {
    let opened = OpenOptions::new().write(true).open(path(name));
    opened.and_then(|file| put(&file, n)).map_err(failed)
}

/// In place and at once, so that who reads without a lock finds a number, too.
fn put(file: &File, n: i64) -> io::Result<()> {
    match file.write_at(&n.to_ne_bytes(), 0)? {
        size if size == size_of::<i64>() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

fn failed(error: io::Error) -> DbErr {
    DbErr::Custom(format!("the file of the counter: {error}"))
}
