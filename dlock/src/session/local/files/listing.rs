//! Who holds what, as the operating system tells.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::super::{Listing, process};
use super::platform::{inode, open};
use super::{give_back, try_lock};
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::ServerLock;

pub(super) fn of(directory: &Path) -> io::Result<Listing> {
    let owners = Owners::ask();
    let mut locks = Vec::new();
    for path in files(directory)? {
        match look(&path, &owners) {
            // It was released meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            holders => locks.extend(holders?),
        }
    }
    let has_moved = owners != Owners::ask();
    Ok(Listing { locks, has_moved })
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // Not one behind a link.
        if path.extension().is_none() && entry.file_type()?.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn look(path: &Path, owners: &Owners) -> io::Result<Vec<ServerLock>> {
    let file = open(path)?;
    let mut text = Vec::new();
    (&file).read_to_end(&mut text)?;
    let key = PhysicalKey::Name(String::from_utf8_lossy(&text).into());
    let held = |mode, id| ServerLock::held(key.clone(), mode, process(id));
    if let (Owners::Told(table), Some(inode)) = (owners, inode(&file.metadata()?)) {
        let owners = table.iter().filter_map(|line| owner(line));
        let owners = owners.filter(|owner| owner.inode == inode);
        let held = owners.map(|owner| held(owner.mode, owner.process));
        return Ok(held.collect());
    }
    // An exclusive lock shows by refusing a shared one.
    let free = try_lock(&file, Mode::Shared)?;
    if free {
        give_back(&file);
    }
    Ok((!free)
        .then(|| held(Mode::Exclusive, 0))
        .into_iter()
        .collect())
}

/// Who holds which file.
#[derive(PartialEq, Eq)]
enum Owners {
    /// The lines of `/proc/locks`, without their numbers.
    Told(Vec<String>),
    Unknown,
}

impl Owners {
    fn ask() -> Self {
        table().map_or(Self::Unknown, Self::Told)
    }
}

/// Linux only. It is told piece by piece: each is right in itself, but when a lock is added in front meanwhile, the next begins with what the last has ended with.
/// <https://man7.org/linux/man-pages/man5/proc_locks.5.html>
fn table() -> io::Result<Vec<String>> {
    let mut file = File::open("/proc/locks")?;
    let mut lines: Vec<String> = Vec::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(lines);
        }
        let text = String::from_utf8_lossy(&piece[..length]);
        let next = text.lines().filter_map(|line| line.split_once(' '));
        let next: Vec<String> = next.map(|(_number, line)| line.to_owned()).collect();
        let known = (0..=next.len())
            .rev()
            .find(|&known| lines.ends_with(&next[..known]));
        lines.extend_from_slice(&next[known.unwrap_or(0)..]);
    }
}

/// A line of it: `FLOCK  ADVISORY  WRITE 2401 08:01:1049612 0 EOF`
struct Owner {
    inode: u64,
    mode: Mode,
    process: u32,
}

fn owner(line: &str) -> Option<Owner> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["FLOCK", _advisory, access, process, file, ..] = words[..] else {
        return None;
    };
    Some(Owner {
        inode: file.rsplit(':').next()?.parse().ok()?,
        mode: match access {
            "READ" => Mode::Shared,
            _ => Mode::Exclusive,
        },
        process: process.parse().unwrap_or(0),
    })
}
