//! The two settings: everything pinned to one core, which shows the work for each lock; and as it comes, which shows the latency.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::slice;

use dlock_bench_child::Result;
use serde::{Deserialize, Serialize};

use crate::Server;

/// How many cores client and servers may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Cores {
    One,
    All,
}

/// The cores that this process was given.
#[derive(Debug, Clone)]
pub(crate) struct Pinning {
    all: String,
    last: String,
}

impl Pinning {
    /// `None` where there is no `taskset`.
    pub(crate) fn find() -> Option<Self> {
        let output = taskset(["-cp", &std::process::id().to_string()])?;
        // pid 42's current affinity list: 0,1
        let all = output.rsplit(' ').next()?.trim().to_owned();
        let last = all.rsplit([',', '-']).next()?.to_owned();
        Some(Self { all, last })
    }

    /// A command of a child in this setting.
    pub(crate) fn command(this: Option<&Self>, cores: Cores, program: &Path) -> Command {
        match (this, cores) {
            (Some(pinning), Cores::One) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &pinning.last]).arg(program);
                command
            }
            _ => Command::new(program),
        }
    }

    /// Puts the processes of our servers there; those that they start from then on stay there, too.
    fn pin(&self, servers: &[Server], cores: Cores) -> Result<()> {
        let list = match cores {
            Cores::One => &self.last,
            Cores::All => &self.all,
        };
        for folder in servers.iter().filter_map(|server| server.folder.as_deref()) {
            let processes = processes(folder)?;
            if processes.is_empty() {
                return Err(format!("no process of {} is seen", folder.display()).into());
            }
            for process in processes {
                move_to(process, list)?;
            }
        }
        Ok(())
    }
}

/// Servers that are pinned to some cores, until this is dropped.
#[derive(Debug)]
pub(crate) struct Pinned<'a> {
    pinning: &'a Pinning,
    servers: &'a [Server],
}

impl<'a> Pinned<'a> {
    pub(crate) fn pin(pinning: &'a Pinning, servers: &'a [Server], cores: Cores) -> Result<Self> {
        let pinned = Self { pinning, servers };
        pinning.pin(servers, cores)?;
        Ok(pinned)
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        // One that has died must not leave the others where they are.
        for server in self.servers {
            if let Err(error) = self.pinning.pin(slice::from_ref(server), Cores::All) {
                eprintln!("{} may still be pinned: {error}", server.name);
            }
        }
    }
}

/// With all its threads.
fn move_to(process: u32, list: &str) -> Result<()> {
    // It fails, too, when a thread ends meanwhile.
    for _ in 0..5 {
        let moved = taskset(["-acp", list, &process.to_string()]).is_some();
        if moved || !Path::new("/proc").join(process.to_string()).exists() {
            return Ok(());
        }
    }
    Err(format!("process {process} cannot be pinned to {list}").into())
}

/// What it prints, if it succeeds.
fn taskset<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut command = Command::new("taskset");
    command.args(arguments).stderr(Stdio::null());
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Those that have the folder in their command line, and their children.
fn processes(folder: &Path) -> Result<BTreeSet<u32>> {
    let folder = folder.to_string_lossy();
    let mut parents = Vec::new();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        let Some(id) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&*folder) {
            found.insert(id);
        }
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if let Some(parent) = parent.and_then(|parent| parent.trim().parse::<u32>().ok()) {
            parents.push((id, parent));
        }
    }
    let children = parents.iter().filter(|(_, parent)| found.contains(parent));
    let children: Vec<_> = children.map(|(id, _)| *id).collect();
    found.extend(children);
    Ok(found)
}
