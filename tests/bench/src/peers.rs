//! The locks that need more than this program: a Python with their packages, or another workspace.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dlock_bench_child::Result;

use crate::servers::folder;

/// Their newest versions follow from these, except for those that are pinned.
const PACKAGES: [&str; 5] = [
    "sqlalchemy-dlock==0.8.1",
    "PyMySQLLock==0.2.0",
    "PyMySQL",
    "asyncpg",
    "psycopg2-binary",
];

/// It has come and gone.
const UNSURE: &str = "postgres-lock==0.1.4";

/// The file with pip's last line about it.
const REFUSAL: &str = "refusal";

/// What runs a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// This one.
    Own,
    DistributedLock,
    Python,
}

/// How to run them, or why it cannot be done.
#[derive(Debug)]
pub(crate) struct Peers {
    own: PathBuf,
    distributed_lock: Result<PathBuf, String>,
    python: Result<PathBuf, String>,
    /// Of the packages of Python.
    pub(crate) versions: BTreeMap<String, String>,
    /// What pip said of the one that may be missing.
    unsure: Option<String>,
}

impl Peers {
    /// Builds and downloads what is missing.
    pub(crate) fn prepare(wanted: bool) -> Result<Self> {
        let left_out = || Err("left out by --rust-only".to_owned());
        let text = |error: Box<dyn std::error::Error + Send + Sync>| error.to_string();
        let mut peers = Self {
            own: env::current_exe()?,
            distributed_lock: left_out(),
            python: left_out(),
            versions: BTreeMap::new(),
            unsure: None,
        };
        if wanted {
            peers.distributed_lock = build().map_err(text);
            peers.python = install().map_err(text);
        }
        if let Ok(python) = &peers.python {
            let versions = run(Command::new(python).arg(script()).arg("versions"))?;
            peers.versions = serde_json::from_str(&versions)?;
            peers.unsure = fs::read_to_string(environment()?.join(REFUSAL)).ok();
        }
        Ok(peers)
    }

    /// Its program, and the arguments before the sample.
    pub(crate) fn program(&self, program: Program) -> Result<(&Path, Vec<PathBuf>), &str> {
        match program {
            Program::Own => Ok((&self.own, vec!["sample".into()])),
            Program::DistributedLock => self
                .distributed_lock
                .as_ref()
                .map(|path| (path.as_path(), Vec::new()))
                .map_err(String::as_str),
            Program::Python => self
                .python
                .as_ref()
                .map(|path| (path.as_path(), vec![script()]))
                .map_err(String::as_str),
        }
    }

    /// Why a program is missing.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let distributed_lock = self.distributed_lock.as_ref().err();
        let python = self.python.as_ref().err();
        let unsure = match self.versions.contains_key("postgres-lock") {
            _ if self.python.is_err() => None,
            true => {
                Some("pip has it again, but no code for it is here, since it could not be tried")
            }
            false => Some(self.unsure.as_deref().unwrap_or("it is not installed")),
        };
        [
            ("distributed-lock", distributed_lock.map(String::as_str)),
            ("the locks of Python", python.map(String::as_str)),
            (UNSURE, unsure),
        ]
        .into_iter()
        .filter_map(|(name, error)| Some((name, error?)))
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn script() -> PathBuf {
    here().join("peers/peers.py")
}

/// The crate distributed-lock's own workspace; its build stays in its folder's `target`, or where all builds go.
fn build() -> Result<PathBuf> {
    let folder = here().join("peers/distributed-lock");
    eprintln!("building the child for the crate distributed-lock");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&folder).args([
        "build",
        "--release",
        "--locked",
        "--message-format=json-render-diagnostics",
    ]);
    let messages = run(&mut command)?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs =
        messages.filter_map(|message| Some(message.get("executable")?.as_str()?.to_owned()));
    let program = programs.next_back().ok_or("cargo names no program")?;
    Ok(program.into())
}

/// Where the servers' downloads are.
fn environment() -> Result<PathBuf> {
    Ok(folder()?.join("cache/python-peers"))
}

/// A virtual environment, made anew when other packages are wanted than it was made for.
fn install() -> Result<PathBuf> {
    let folder = environment()?;
    let python = folder.join("bin/python");
    let ready = folder.join("ok");
    let wanted = [&PACKAGES[..], &[UNSURE]].concat().join("\n");
    if fs::read_to_string(&ready).ok().as_ref() != Some(&wanted) {
        eprintln!("installing the locks of Python in {}", folder.display());
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder))
        .map_err(|error| format!("no python3 with venv: {error}"))?;
        pip(&python, &PACKAGES)?;
        if let Err(error) = pip(&python, &[UNSURE]) {
            eprintln!("{UNSURE} is left out: {error}");
            fs::write(folder.join(REFUSAL), error.to_string())?;
        }
        fs::write(&ready, wanted)?;
    }
    Ok(python)
}

fn pip(python: &Path, packages: &[&str]) -> Result<()> {
    let mut command = Command::new(python);
    command
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(packages);
    run(&mut command).map(drop)
}

/// What it prints.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program())
        .file_name()
        .map(OsStr::to_owned);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("no word of it");
        return Err(format!(
            "{}: {}",
            program.unwrap_or_default().to_string_lossy(),
            last.trim()
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
