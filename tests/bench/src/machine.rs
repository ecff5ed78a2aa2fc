//! Where and with what it was measured. Nothing of it names the host.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::peers::run;

/// The crates whose versions matter.
const CRATES: [&str; 5] = ["sea-orm-dlock", "sqlx", "sea-orm", "redis", "tokio"];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) virtualised: bool,
    pub(crate) rustc: String,
    /// Of dlock, where it is a git repository.
    pub(crate) commit: Option<String>,
    /// Of servers, crates and packages.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Machine {
    /// This one.
    pub(crate) fn look(versions: BTreeMap<String, String>) -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = |name: &str| {
            let line = processors.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": "))
        };
        let asked = |program, arguments: &[&str]| {
            let answer = run(Command::new(program).args(arguments)).ok()?;
            Some(answer.trim().to_owned())
        };
        let processor = line("model name").map(|(_, name)| name.to_owned());
        let processor = processor.or_else(|| asked("sysctl", &["-n", "machdep.cpu.brand_string"]));
        let commit = asked(
            "git",
            &[
                "-C",
                env!("CARGO_MANIFEST_DIR"),
                "describe",
                "--always",
                "--dirty",
            ],
        );
        let mut machine = Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor: processor.unwrap_or_else(|| "unknown".to_owned()),
            kernel: asked("uname", &["-srm"]).unwrap_or_else(|| "unknown".to_owned()),
            virtualised: line("flags").is_some_and(|(_, flags)| flags.contains(" hypervisor")),
            rustc: asked("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned()),
            commit,
            versions,
        };
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = locked(&here.join("../../Cargo.lock"));
        let other = locked(&here.join("peers/distributed-lock/Cargo.lock"));
        let wanted = CRATES
            .iter()
            .filter_map(|name| Some((*name, own.get(*name)?)));
        let wanted = wanted.chain(
            other
                .get("distributed-lock-core")
                .map(|version| ("distributed-lock", version)),
        );
        machine
            .versions
            .extend(wanted.map(|(name, version)| (format!("crate {name}"), version.clone())));
        machine
    }
}

/// The versions in a `Cargo.lock`.
fn locked(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value =
        |line: &str, name: &str| Some(line.strip_prefix(name)?.trim_matches('"').to_owned());
    let lines: Vec<_> = text.lines().collect();
    let pairs = lines.windows(2);
    pairs
        .filter_map(|pair| Some((value(pair[0], "name = ")?, value(pair[1], "version = ")?)))
        .collect()
}
