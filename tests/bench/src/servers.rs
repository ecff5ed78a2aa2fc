//! One server of each kind: those that the environment names, as `tests/run` has it, else those that the scripts in `tests/servers` start.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Arc;

/// The name of a server, the variable with its URL, and the script that starts it.
const DATABASES: [(&str, &str, &str); 3] = [
    ("postgres", "DLOCK_TEST_POSTGRES_URL", "pg.sh"),
    ("mariadb", "DLOCK_TEST_MARIADB_URL", "mariadb.sh"),
    ("mysql", "DLOCK_TEST_MYSQL_URL", "mysql.sh"),
];

const REDIS: (&str, &str, &str) = ("redis", "DLOCK_TEST_REDIS_URL", "redis.sh");

/// A server to measure on. One that was started for it is stopped when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// What to call it.
    pub name: &'static str,
    /// Where it is.
    pub url: String,
    /// What the names of its processes have in common, if it runs here by our scripts.
    pub(crate) folder: Option<PathBuf>,
    end: End,
}

#[derive(Debug)]
enum End {
    /// It is somebody else's.
    Leave,
    Stop(PathBuf, Arc<File>),
    /// The folder with the SQLite database.
    Remove(PathBuf),
}

impl Server {
    /// PostgreSQL, MariaDB, MySQL and SQLite, as far as they can be had; of the others it is said on standard error what to do.
    pub fn databases() -> Vec<Self> {
        Self::some(&DATABASES)
    }

    /// Those of the databases and Redis whose names are needed, and SQLite.
    pub(crate) fn needed(is_needed: impl Fn(&str) -> bool) -> Vec<Self> {
        let all = DATABASES.into_iter().chain([REDIS]);
        let needed: Vec<_> = all.filter(|(name, ..)| is_needed(name)).collect();
        Self::some(&needed)
    }

    fn some(wanted: &[(&'static str, &str, &str)]) -> Vec<Self> {
        let mut turn = None;
        let mut servers = Vec::new();
        for &(name, variable, script) in wanted {
            match Self::find(name, variable, script, &mut turn) {
                Ok(server) => servers.push(server),
                Err(error) => eprintln!(
                    "{name} is left out: set {variable} to the URL of a server, or make tests/servers/{script} start one ({error})"
                ),
            }
        }
        match Self::sqlite() {
            Ok(sqlite) => servers.push(sqlite),
            Err(error) => eprintln!("sqlite is left out: set TMPDIR to a folder for it ({error})"),
        }
        servers
    }

    fn find(
        name: &'static str,
        variable: &str,
        script: &str,
        turn: &mut Option<Arc<File>>,
    ) -> io::Result<Self> {
        if let Ok(url) = env::var(variable) {
            // The other name of the scheme, which not all that is measured knows.
            let url = match url.strip_prefix("postgresql://") {
                Some(rest) => format!("postgres://{rest}"),
                None => url,
            };
            return Ok(Self {
                name,
                url,
                folder: None,
                end: End::Leave,
            });
        }
        let turn = match turn {
            Some(turn) => Arc::clone(turn),
            None => Arc::clone(turn.insert(Arc::new(take_turn()?))),
        };
        let run = folder()?.join("run").canonicalize();
        let stem = script.trim_end_matches(".sh");
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../servers")
            .join(script);
        let end = match call(&script, "status") {
            Ok(_) => End::Leave,
            Err(_) => End::Stop(script.clone(), turn),
        };
        let mut server = Self {
            name,
            url: String::new(),
            folder: run.ok().map(|run| run.join(stem)),
            end,
        };
        call(&script, "start")?;
        server.url = call(&script, "url")?;
        Ok(server)
    }

    /// The one that names it to other programs.
    pub(crate) fn variable(&self) -> String {
        format!("DLOCK_TEST_{}_URL", self.name.to_uppercase())
    }

    fn sqlite() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("dlock-bench-{}", process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            name: "sqlite",
            url: format!("sqlite://{}/bench.sqlite?mode=rwc", folder.display()),
            folder: None,
            end: End::Remove(folder),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = match &self.end {
            End::Leave => Ok(()),
            End::Stop(script, _turn) => call(script, "stop").map(drop),
            End::Remove(folder) => fs::remove_dir_all(folder),
        };
        if let Err(error) = ended {
            eprintln!("{}: {error}", self.name);
        }
    }
}

/// `tests/run` uses the same servers, and stops them at its end.
fn take_turn() -> io::Result<File> {
    let turn = File::create(folder()?.join("lock"))?;
    if turn.try_lock().is_err() {
        eprintln!("waiting for tests/run, or another benchmark, which uses the same servers");
        turn.lock()?;
    }
    Ok(turn)
}

/// Where the scripts keep what they start and download.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let folder = env::var_os("DBS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| env::temp_dir().join("dlock-servers"));
    for part in ["run", "cache"] {
        fs::create_dir_all(folder.join(part))?;
    }
    Ok(folder)
}

/// What the script prints.
fn call(script: &Path, verb: &str) -> io::Result<String> {
    // 10,000 locks need more room than PostgreSQL has by default.
    let output = Command::new(script)
        .arg(verb)
        .env("PGOPTS", "-c max_connections=300")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{verb}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
