//! Who holds what, as the operating system tells.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::flock::{give_back, try_lock};
use super::platform::{device, inode, open};
use crate::backend::inline::{Listing, process};
use crate::backend::sqlite::keys::FILE_NAME_LENGTH;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::ServerLock;

pub(super) fn of(directory: &Path) -> io::Result<Listing> {
    let owners = Owners::ask();
    let mut locks = Vec::new();
    let device = device(directory);
    for path in files(directory)? {
        match look(&path, device.as_deref(), &owners) {
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
        if is_lock(&entry.file_name()) && entry.file_type()?.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// No turn, none that is being made, and none that FUSE keeps for a process that has it open
/// (`.fuse_hidden..`).
fn is_lock(name: &OsStr) -> bool {
    let digest = name.as_encoded_bytes();
    digest.len() == FILE_NAME_LENGTH && digest.iter().all(u8::is_ascii_hexdigit)
}

fn look(path: &Path, device: Option<&str>, owners: &Owners) -> io::Result<Vec<ServerLock>> {
    let file = open(path)?;
    let mut text = Vec::new();
    (&file).read_to_end(&mut text)?;
    let key = PhysicalKey::Name(String::from_utf8_lossy(&text).into());
    let held = |mode, id| ServerLock::held(key.clone(), mode, process(id));
    if let (Owners::Told(table), Some(inode)) = (owners, inode(&file.metadata()?)) {
        let owners = table.iter().filter_map(|line| owner(line));
        let owners = owners.filter(|owner| owner.inode == inode && owner.is_on(device));
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

/// Linux only. It is told piece by piece: each is right in itself, but when a lock is added in
/// front meanwhile, the next begins with what the last has ended with.
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
#[derive(Debug, PartialEq, Eq)]
struct Owner<'a> {
    device: &'a str,
    inode: u64,
    mode: Mode,
    process: u32,
}

impl Owner<'_> {
    /// FUSE file systems count from one: inode numbers alone tell nothing there.
    fn is_on(&self, device: Option<&str>) -> bool {
        device.is_none_or(|device| device == self.device)
    }
}

fn owner(line: &str) -> Option<Owner<'_>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["FLOCK", _advisory, access, process, file, ..] = words[..] else {
        return None;
    };
    let (device, inode) = file.rsplit_once(':')?;
    Some(Owner {
        device,
        inode: inode.parse().ok()?,
        mode: match access {
            "READ" => Mode::Shared,
            _ => Mode::Exclusive,
        },
        process: process.parse().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sqlite::keys::file_name;

    #[test]
    fn a_lock_is_named_for_a_digest() {
        let name = file_name(&PhysicalKey::Name("abc".into()));
        assert!(is_lock(OsStr::new(&name)));
        let turn = format!("{name}.wait");
        let others = [
            &turn,
            &name[1..],
            "0123.new",
            ".fuse_hidden0000000200000001",
        ];
        assert!(others.iter().all(|name| !is_lock(OsStr::new(name))));
    }

    #[test]
    fn a_line_names_device_inode_mode_and_process() {
        let line = "FLOCK  ADVISORY  READ  2401 00:27:7 0 EOF";
        let found = owner(line).expect("a lock");
        let expected = Owner {
            device: "00:27",
            inode: 7,
            mode: Mode::Shared,
            process: 2401,
        };
        assert_eq!(found, expected);
        assert!(found.is_on(Some("00:27")) && found.is_on(None) && !found.is_on(Some("00:28")));
        assert_eq!(owner("POSIX  ADVISORY  WRITE 2401 00:27:7 0 EOF"), None);
    }
}
