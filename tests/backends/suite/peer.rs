//! Another process that does as it is told: see `dlock-peer`.

use std::process::Stdio;
use std::time::Duration;

use dlock_tests::Way;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{Failure, Outcome};

/// Killed when it is dropped.
pub(crate) struct Peer {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) async fn start(url: &str) -> Outcome<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_dlock-peer"))
            .arg(url)
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
