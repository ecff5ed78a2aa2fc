//! The processes of a sample, which start together.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use dlock_bench_child::{Outcome, Result, Sample};

/// Longer than any sample takes to warm up, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a process takes to end once it has reported.
const TO_END: Duration = Duration::from_secs(10);

/// Time until the common start, for each process that the parent has to write to.
const NOTICE: Duration = Duration::from_millis(5);

/// A process that has been told what to do. It ends when this is dropped.
pub(crate) struct Child {
    process: process::Child,
    lines: Receiver<String>,
    errors: PathBuf,
}

impl Child {
    /// The command gets the sample as its last argument.
    pub(crate) fn start(mut command: Command, sample: &Sample, errors: PathBuf) -> Result<Self> {
        command
            .arg(serde_json::to_string(sample)?)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?);
        let mut process = command.spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output)
                .lines()
                .map_while(std::result::Result::ok)
            {
                // Nobody listens any more after an error.
                let _ = send.send(line);
            }
        });
        Ok(Self {
            process,
            lines,
            errors,
        })
    }

    /// Returns when it is warm.
    pub(crate) fn ready(&mut self) -> Result<()> {
        match self.line(PATIENCE)?.as_str() {
            "ready" => Ok(()),
            other => Err(format!("said {other} when it should be ready").into()),
        }
    }

    /// Tells it the instant at which all processes of the sample start.
    pub(crate) fn go(&mut self, start: SystemTime) -> Result<()> {
        let input = self.process.stdin.as_mut().ok_or("no input")?;
        let nanoseconds = start.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
        Ok(input.write_all(format!("{nanoseconds}\n").as_bytes())?)
    }

    /// Returns when it has ended.
    pub(crate) fn outcome(mut self, seconds: f64) -> Result<Outcome> {
        let line = self.line(PATIENCE + Duration::from_secs_f64(seconds))?;
        let outcome = serde_json::from_str(&line)?;
        let end = Instant::now() + TO_END;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err("it has reported, and does not end".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(outcome)
    }

    fn line(&mut self, patience: Duration) -> Result<String> {
        self.lines.recv_timeout(patience).map_err(|error| {
            let errors = fs::read_to_string(&self.errors).unwrap_or_default();
            match (error, reason(&errors)) {
                (mpsc::RecvTimeoutError::Timeout, _) => "no result within a minute".into(),
                (_, Some(last)) => last.to_owned().into(),
                (_, None) => "it ended without a word".into(),
            }
        })
    }
}

/// The last line that says something; a panic ends with advice.
fn reason(errors: &str) -> Option<&str> {
    errors
        .lines()
        .rfind(|line| !line.trim().is_empty() && !line.starts_with("note: "))
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What all of them report, after they have started together.
pub(crate) fn outcomes(mut children: Vec<Child>, seconds: f64) -> Result<Vec<Outcome>> {
    for child in &mut children {
        child.ready()?;
    }
    let start = SystemTime::now() + NOTICE * children.len() as u32;
    for child in &mut children {
        child.go(start)?;
    }
    let children = children.into_iter();
    children.map(|child| child.outcome(seconds)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_no_reason() {
        let panic = "thread 'main' panicked at src/main.rs:1:\nno server\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\n";
        assert_eq!(reason(panic), Some("no server"));
        assert_eq!(reason("\n"), None);
    }
}
