//! Another process that does as it is told: see `dlock-peer`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dlock_tests::Way;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{Failure, Outcome};

const PEER: &str = env!("CARGO_BIN_EXE_dlock-peer");

/// Killed when it is dropped.
pub(crate) struct Peer {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) async fn start(url: &str) -> Outcome<Self> {
        Self::spawn(Command::new(PEER).arg(url)).await
    }

    /// After a command of the shell: elsewhere, with less, under another mask.
    pub(crate) async fn start_after(set_up: &str, url: &str) -> Outcome<Self> {
        let script = format!("{set_up} && exec \"$@\"");
        Self::spawn(Command::new("sh").args(["-c", &script, "sh", PEER, url])).await
    }

    /// For another user of this host. A copy of the program, since he may not see ours.
    pub(crate) async fn start_as(user: u32, program: &Path, url: &str) -> Outcome<Self> {
        if !program.exists() {
            std::fs::copy(PEER, program)?;
        }
        Self::spawn(Command::new(program).arg(url).uid(user).gid(user)).await
    }

    async fn spawn(command: &mut Command) -> Outcome<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = process.stdin.take().ok_or(Failure::new("no stdin"))?;
        let answers = process.stdout.take().ok_or(Failure::new("no stdout"))?;
        let mut peer = Self {
            process,
            orders,
            answers: BufReader::new(answers).lines(),
        };
        peer.expect("ready").await?;
        Ok(peer)
    }

    pub(crate) async fn order(&mut self, order: impl AsRef<str>) -> Outcome {
        let line = format!("{}\n", order.as_ref());
        Ok(self.orders.write_all(line.as_bytes()).await?)
    }

    pub(crate) async fn answer(&mut self) -> Outcome<String> {
        match timeout(Duration::from_secs(60), self.answers.next_line()).await {
            Ok(line) => line?.ok_or_else(|| Failure::new("the peer has ended")),
            Err(_) => Err(Failure::new("the peer does not answer")),
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &str) -> impl Future<Output = Outcome> {
        let wrong = Failure::new(format!("the peer did not say `{expected}`"));
        async move {
            match self.answer().await? {
                answer if answer == expected => Ok(()),
                answer => Err(wrong.but(&answer)),
            }
        }
    }

    pub(crate) async fn hold(&mut self, key: i64, way: Way) -> Outcome {
        self.order(format!("acquire {key} {way} 30000")).await?;
        match self.answer().await?.as_str() {
            "held" => Ok(()),
            "waiting" => self.expect("held").await,
            answer => Err(Failure::new(format!("the peer has no lock: {answer}"))),
        }
    }

    /// It waits for a lock that somebody else holds, and the server has told it so.
    pub(crate) async fn wait_for(&mut self, key: i64) -> Outcome {
        self.order(format!("acquire {key} {} 60000", Way::PLAIN))
            .await?;
        self.expect("waiting").await
    }

    pub(crate) async fn try_hold(&mut self, key: i64, way: Way) -> Outcome<bool> {
        self.order(format!("try {key} {way}")).await?;
        match self.answer().await?.as_str() {
            "held" => Ok(true),
            "busy" => Ok(false),
            answer => Err(Failure::new(answer)),
        }
    }

    pub(crate) async fn release(&mut self, key: i64) -> Outcome {
        self.order(format!("release {key}")).await?;
        self.expect("released").await
    }

    /// Its process.
    pub(crate) fn id(&self) -> Outcome<u32> {
        self.process.id().ok_or(Failure::new("the peer has ended"))
    }

    /// SIGSTOP; it stands still then.
    pub(crate) async fn freeze(&self) -> Outcome {
        self.signal("-STOP").await?;
        let status = format!("/proc/{}/status", self.id()?);
        super::eventually("the peer stands still", async || {
            Ok(std::fs::read_to_string(&status)?.contains("State:\tT"))
        })
        .await
    }

    /// SIGCONT.
    pub(crate) async fn thaw(&self) -> Outcome {
        self.signal("-CONT").await
    }

    async fn signal(&self, signal: &str) -> Outcome {
        let process = self.id()?.to_string();
        let sent = Command::new("kill")
            .args([signal, &process])
            .status()
            .await?;
        match sent.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("kill {signal}: {sent}"))),
        }
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) -> Outcome {
        Ok(self.process.kill().await?)
    }

    /// It exits by itself, with what it holds.
    pub(crate) async fn exit(mut self) -> Outcome {
        drop(self.orders);
        let status = self.process.wait().await?;
        assert!(status.success(), "{status}");
        Ok(())
    }
}
