//! A driver in memory, which answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::driver::{Driver, TextRow};
use super::super::session::OracleSession;
use super::super::statements::{Bind, Block};
use super::super::thread::DriverThread;
use crate::backend::SessionError;

/// By how much the driver waits longer than the server is to.
pub(super) const MARGIN: Duration = Duration::from_secs(7);

pub(super) type Reply = Result<Vec<Option<i64>>, SessionError>;

/// What it was asked, by which thread, and what it is to say.
#[derive(Default)]
pub(super) struct Script {
    pub(super) blocks: Vec<(String, Vec<Bind>, Duration)>,
    pub(super) selects: Vec<(String, Duration)>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) rows: Vec<TextRow>,
    /// Why the server cannot compile the next block that is to show that.
    pub(super) compile_error: Option<String>,
    pub(super) threads: Vec<ThreadId>,
    /// The next block waits here.
    pub(super) gate: Option<mpsc::Receiver<()>>,
    pub(super) logged_off: bool,
}

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Script>>);

impl Fake {
    pub(super) fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        let fake = Self::default();
        fake.with(|script| script.replies.extend(replies));
        fake
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn session(&self) -> OracleSession {
        let driver = FakeDriver(self.clone());
        let open = move || Ok(driver);
        let thread = DriverThread::start(room(), open).await.unwrap();
        OracleSession::new(thread, MARGIN)
    }
}

pub(super) struct FakeDriver(Fake);

impl Driver for FakeDriver {
    fn run(&mut self, block: &Block, limit: Duration) -> Reply {
        if let Some(gate) = self.0.with(|script| script.gate.take()) {
            gate.recv().unwrap();
        }
        self.0.with(|script| {
            let Block { text, binds } = block.clone();
            script.blocks.push((text, binds, limit));
            script.threads.push(std::thread::current().id());
            script.replies.pop_front().expect("a reply is prepared")
        })
    }

    fn select(&mut self, sql: &str, limit: Duration) -> Result<Vec<TextRow>, SessionError> {
        self.0.with(|script| {
            script.selects.push((sql.to_owned(), limit));
            Ok(script.rows.clone())
        })
    }

    fn compile_error(
        &mut self,
        block: &Block,
        limit: Duration,
    ) -> Result<Option<String>, SessionError> {
        match self.0.with(|script| script.compile_error.take()) {
            None => self.run(block, limit).map(|_| None),
            error => Ok(error),
        }
    }
}

impl Drop for FakeDriver {
    fn drop(&mut self) {
        self.0.with(|script| script.logged_off = true);
    }
}

pub(super) fn room() -> OwnedSemaphorePermit {
    let room = Arc::new(Semaphore::new(1)).try_acquire_owned();
    room.expect("it is the only one")
}
