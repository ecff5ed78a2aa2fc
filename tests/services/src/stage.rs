//! What a scenario plays on.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::database::{Database, Kind};
use crate::partner::Partner;
use crate::process::Service;

/// A scenario waits for what may never come when the service is wrong; it takes a second or two otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// A database, a partner, and a program of which processes can be started.
#[derive(Debug)]
pub struct Stage {
    /// The partner.
    pub partner: Partner,
    program: &'static str,
    database: Database,
}

impl Stage {
    /// A process, not started yet, on this database.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .env("DATABASE_URL", &self.database.url)
            .env("PARTNERS_URL", &self.partner.url)
            .env("NO_PROXY", "127.0.0.1")
            // On MariaDB locks are the server's, which other tests use, too.
            .env("LOCK_NAMESPACE", &self.database.name)
            .env("NIGHTLY_AT", "00:00");
        command
    }

    /// Starts a process that serves.
    pub async fn start(&self) -> Service {
        Service::start(self.command()).await
    }

    /// The URL of the database.
    pub fn url(&self) -> &str {
        &self.database.url
    }
}

/// Plays a scenario on a stage of its own, which is cleared away however it ends.
pub async fn play(kind: Kind, program: &'static str, scenario: impl AsyncFnOnce(&Stage)) {
    let stage = Stage {
        partner: Partner::open().await,
        program,
        database: Database::create(kind).await,
    };
    let scenario = async {
        let played = timeout(PATIENCE, scenario(&stage)).await;
        played.expect("what the scenario waits for comes");
    };
    let played = AssertUnwindSafe(scenario).catch_unwind().await;
    match played {
        Ok(()) => stage.database.drop().await,
        Err(panic) => {
            // Its processes may not be gone yet, which must not hide why it failed.
            let dropping = AssertUnwindSafe(stage.database.drop());
            let _failed = dropping.catch_unwind().await;
            resume_unwind(panic);
        }
    }
}
