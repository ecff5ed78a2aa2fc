//! What the bench `heap` prints, which counts every allocation and so would disturb the speed: it is a program of its own.

use std::env;
use std::process::Command;

use dlock_bench_child::Result;
use serde::{Deserialize, Serialize};

use crate::peers::run;
use crate::servers::Server;

/// A line of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heap {
    /// The server, or what else it is about.
    pub server: String,
    /// What is counted, and for each of what.
    pub what: String,
    /// How many.
    pub count: usize,
}

/// What of it the goals name.
pub const HELD: &str = "bytes for a lock that is held, with its guard and its sessions";

impl Heap {
    /// Builds it, and runs it on these servers.
    pub(crate) fn measure(servers: &[Server]) -> Result<Vec<Self>> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        for server in servers {
            command.env(server.variable(), &server.url);
        }
        let lines = run(command.args(["bench", "--bench", "heap", "--", "--json"]))?;
        let lines = lines.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}
