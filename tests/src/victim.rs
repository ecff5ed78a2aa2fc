//! A server that tests may stop and start.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use tokio::process::Command;

/// The server behind a script with `start`, `stop`, `status` and `url`. One test at a time has it, in all processes together; it is running when a test gets it.
#[derive(Debug)]
pub struct Victim {
    script: PathBuf,
    _turn: File,
}

impl Victim {
    /// Waits for its turn.
    ///
    /// # Errors
    ///
    /// When the script is not there or cannot start the server.
    pub async fn take(script: impl Into<PathBuf>) -> io::Result<Self> {
        let script = script.into();
        let turn = File::open(&script)?;
        let turn = tokio::task::spawn_blocking(move || turn.lock().map(|()| turn)).await??;
        let victim = Self {
            script,
            _turn: turn,
        };
        victim.start().await?;
        Ok(victim)
    }

    /// Starts it, unless it runs; it is ready then.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub async fn start(&self) -> io::Result<()> {
        self.call(&["start"]).await.map(drop)
    }

    /// Stops it, without asking its clients.
    ///
    /// # Errors
    ///
    /// When it does not stop.
    pub async fn stop(&self) -> io::Result<()> {
        self.call(&["stop"]).await.map(drop)
    }

    /// Its URL.
    ///
    /// # Errors
    ///
    /// When the script fails.
    pub async fn url(&self) -> io::Result<String> {
        self.call(&["url"]).await
    }

    /// Calls the script with these arguments; returns its output.
    ///
    /// # Errors
    ///
    /// When the script fails.
    pub async fn call(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(&self.script);
        let output = command.args(arguments).output().await?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            let script = self.script.display();
            return Err(io::Error::other(format!("{script} {arguments:?}: {why}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
