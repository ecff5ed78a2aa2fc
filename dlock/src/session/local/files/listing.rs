//! Who holds what, as the operating system tells.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::super::process;
use super::platform::inode;
use super::try_lock;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::ServerLock;

/// Where the operating system does not tell, an exclusive lock shows by refusing a shared one.
pub(super) fn of(directory: &Path) -> io::Result<Vec<ServerLock>> {
    let owners = owners().unwrap_or_default();
    let mut held = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some() {
            continue;
        }
        // One that is released meanwhile is not held.
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let mut text = Vec::new();
        (&file).read_to_end(&mut text)?;
        let key = PhysicalKey::Name(String::from_utf8_lossy(&text).into());
        let inode = inode(&file.metadata()?);
        let owners = owners.iter().filter(|owner| inode == Some(owner.inode));
        let listed = held.len();
        held.extend(
            owners.map(|owner| ServerLock::held(key.clone(), owner.mode, process(owner.process))),
        );
        if held.len() == listed && !try_lock(&file, Mode::Shared)? {
            held.push(ServerLock::held(key, Mode::Exclusive, process(0)));
        }
    }
    Ok(held)
}

/// A line of `/proc/locks`.
struct Owner {
    inode: u64,
    mode: Mode,
    process: u32,
}

/// Linux only. <https://man7.org/linux/man-pages/man5/proc_locks.5.html>
fn owners() -> io::Result<Vec<Owner>> {
    let table = fs::read_to_string("/proc/locks")?;
    Ok(table.lines().filter_map(owner).collect())
}

/// `1: FLOCK  ADVISORY  WRITE 2401 08:01:1049612 0 EOF`
fn owner(line: &str) -> Option<Owner> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_number, "FLOCK", _advisory, access, process, file, ..] = words[..] else {
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
