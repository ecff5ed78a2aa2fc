//! An Oracle session: its driver blocks, so it has a thread of its own. Its end shows only when it
//! is asked for, so it is, often.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};

use super::driver::{Driver, TextRow};
use super::statements::{self, Acquire, Block, Code};
use super::thread::DriverThread;
use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::capabilities::Capabilities;
use crate::backend::session::Session;
use crate::backend::session_error::SessionError;
use crate::backend::shared::doubt::{Doubt, refused};
use crate::key::PhysicalKey;
use crate::server_lock::{Holder, ServerLock};

/// A lock that is gone is noticed within a second.
const HEARTBEAT: Duration = Duration::from_millis(500);

pub(super) const CAPABILITIES: Capabilities = Capabilities {
    waits: true,
    heartbeat: Some(HEARTBEAT),
    tells_holders: false,
};

/// The server waits for whole seconds only; shorter waits are tries, this far apart.
const POLL: Duration = Duration::from_millis(25);

/// One connection, for the whole of its life.
pub(crate) struct OracleSession {
    thread: DriverThread,
    /// What tells it from all other sessions of the server.
    pub(super) identity: Option<String>,
    /// 0 until it is known.
    pub(super) number: i64,
    /// By how much the driver waits longer than the server is to.
    margin: Duration,
    doubt: Doubt,
}

/// What a session says of itself.
pub(super) struct SignOfLife {
    pub(super) identity: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) is_primary: bool,
    pub(super) number: i64,
}

impl OracleSession {
    pub(super) fn new(thread: DriverThread, margin: Duration) -> Self {
        Self {
            thread,
            identity: None,
            number: 0,
            margin,
            doubt: Doubt::default(),
        }
    }

    /// The codes that come out of a block.
    pub(super) async fn codes(
        &mut self,
        block: Block,
        patience: Duration,
    ) -> Result<Vec<Code>, SessionError> {
        self.doubt.check()?;
        let limit = patience.saturating_add(self.margin);
        let run = move |driver: &mut dyn Driver| driver.run(&block, limit);
        let codes = self.thread.call(run).await?;
        Ok(codes.into_iter().map(Code::of).collect())
    }

    /// The server's error, where it could not compile this block.
    pub(super) async fn compile_error(
        &mut self,
        block: Block,
    ) -> Result<Option<String>, SessionError> {
        let limit = self.margin;
        self.thread
            .call(move |driver| driver.compile_error(&block, limit))
            .await
    }

    async fn select(&mut self, sql: &'static str) -> Result<Vec<TextRow>, SessionError> {
        let limit = self.margin;
        self.thread
            .call(move |driver| driver.select(sql, limit))
            .await
    }

    pub(super) async fn sign_of_life(&mut self) -> Result<SignOfLife, SessionError> {
        let rows = self.select(statements::SESSION).await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let mut columns = row.into_iter();
        let mut next = || columns.next().flatten();
        Ok(SignOfLife {
            identity: next(),
            schema: next(),
            is_primary: next().is_none_or(|role| role == statements::PRIMARY),
            number: next().and_then(|sid| sid.parse().ok()).unwrap_or(0),
        })
    }

    /// What the code of a request for a lock means. Where it means nothing certain the session is
    /// not used again: the lock may be held.
    fn answer(&mut self, id: i64, code: Code) -> Answer {
        let failed = match code {
            Code::Done => return Answer::Yes,
            Code::TimedOut => return Answer::No,
            Code::Deadlock => return Answer::Deadlock,
            Code::BadParameter => "parameter error (3)".to_owned(),
            Code::WrongOwner => "the session owns it already (4)".to_owned(),
            Code::IllegalHandle => "illegal lock handle (5)".to_owned(),
            Code::Other(code) => format!("the server answered {code}"),
            Code::Missing => "the server answered nothing".to_owned(),
        };
        self.doubt
            .answer(refused(format!("DBMS_LOCK.REQUEST of {id}: {failed}")))
    }

    /// One lock, for which the server may wait.
    async fn acquire(
        &mut self,
        request: &Request,
        patience: Duration,
    ) -> Result<Answer, SessionError> {
        let id = id(&request.key);
        let acquire = Acquire {
            id,
            mode: request.mode,
            patience,
        };
        let block = statements::exchange(std::iter::empty(), std::iter::once(acquire));
        match self.codes(block, patience).await {
            Ok(codes) => {
                let code = codes.first().copied().unwrap_or(Code::Missing);
                Ok(self.answer(id, code))
            }
            Err(SessionError::Statement(error)) => Ok(self.doubt.answer(error)),
            Err(error) => Err(error),
        }
    }
}

fn id(key: &PhysicalKey) -> i64 {
    match key {
        PhysicalKey::Int(id) => *id,
        PhysicalKey::Pair(..) | PhysicalKey::Name(_) => {
            unreachable!("BUG: Oracle knows locks by number")
        }
    }
}

/// A line of the server's list: who holds it and wants it stronger stands there as its holder.
fn listed(row: &TextRow) -> Option<ServerLock> {
    let [id, held, wanted, session, program] = row.as_slice() else {
        return None;
    };
    let number = |text: &Option<String>| text.as_ref()?.parse::<i64>().ok();
    let mode = |text| number(text).and_then(statements::mode);
    let holder = Holder {
        session: number(session)?,
        application: program.clone().unwrap_or_default(),
    };
    let lock = ServerLock::held(
        PhysicalKey::Int(number(id)?),
        mode(held).or_else(|| mode(wanted))?,
        holder,
    );
    Some(ServerLock {
        granted: mode(held).is_some(),
        ..lock
    })
}

#[async_trait]
impl Session for OracleSession {
    fn number(&self) -> i64 {
        self.number
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        let Batch { releases, tries } = batch;
        let block = statements::exchange(
            releases.iter().map(|request| id(&request.key)),
            tries.iter().map(|request| Acquire {
                id: id(&request.key),
                mode: request.mode,
                patience: Duration::ZERO,
            }),
        );
        let codes = match self.codes(block, Duration::ZERO).await {
            Err(SessionError::Statement(error)) => return Ok(self.doubt.answers(batch, &error)),
            codes => codes?,
        };
        let mut codes = codes.into_iter().chain(std::iter::repeat(Code::Missing));
        let mut answers = Answers::default();
        for (_, code) in releases.iter().zip(&mut codes) {
            // Whatever it is otherwise, this session does not hold what was thought.
            answers.releases.push(Answer::from(code == Code::Done));
        }
        for (request, code) in tries.iter().zip(&mut codes) {
            answers.tries.push(self.answer(id(&request.key), code));
        }
        Ok(answers)
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError> {
        if slice >= Duration::from_secs(1) {
            return self.acquire(request, slice).await;
        }
        let until = Instant::now() + slice;
        loop {
            let answer = self.acquire(request, Duration::ZERO).await?;
            let left = until.saturating_duration_since(Instant::now());
            if !matches!(answer, Answer::No) || left.is_zero() {
                return Ok(answer);
            }
            sleep(left.min(POLL)).await;
        }
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        self.doubt.check()?;
        let life = self.sign_of_life().await?;
        if life.identity != self.identity {
            return Err(SessionError::ended(format!(
                "another server session answers: {:?} in the place of {:?}",
                life.identity, self.identity
            )));
        }
        match life.is_primary {
            true => Ok(()),
            false => Err(SessionError::ended(
                "the database has become a standby: its locks exclude nobody on the primary",
            )),
        }
    }

    async fn locks(&mut self, _: &[PhysicalKey]) -> Result<Vec<ServerLock>, SessionError> {
        let rows = self.select(statements::LOCKS).await?;
        Ok(rows.iter().filter_map(listed).collect())
    }

    async fn gone(&mut self) -> SessionError {
        self.doubt.raised().await
    }

    async fn close(self: Box<Self>) {
        drop(timeout(Duration::from_secs(1), self.thread.end()).await);
    }
}
