//! A SQL Server session by tiberius: one connection, never used again after a statement that was
//! not heard to its end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tiberius::error::Error as TdsError;
use tiberius::{Client, ColumnData, Query, Row};
use tokio::time::timeout;
use tokio_util::compat::Compat;

use super::socket::{Socket, Watch};
use super::statements::{self, Acquire, Release, Statement, Status, Value};
use crate::backend::batch::MAX_BATCH;
use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::capabilities::Capabilities;
use crate::backend::session::{Session, UpgradeLocks};
use crate::backend::session_error::SessionError;
use crate::backend::shared::doubt::{Doubt, refused};
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::{Holder, ServerLock};

/// Above it an error ends the connection.
const WORST_CLASS_OF_A_STATEMENT: u8 = 19;

pub(super) const CAPABILITIES: Capabilities = Capabilities {
    waits: true,
    heartbeat: None,
    tells_holders: false,
};

/// Opens another session on the same server.
#[async_trait]
pub(super) trait Reopen: Send + Sync {
    async fn reopen(self: Arc<Self>) -> Result<MsSqlSession, SessionError>;
}

/// One connection, for the whole of its life.
pub(crate) struct MsSqlSession {
    client: Client<Compat<Socket>>,
    /// The socket under it.
    watch: Watch,
    /// Opens another one in its place.
    server: Arc<dyn Reopen>,
    /// The server's number for it.
    pub(super) id: i64,
    /// What its application calls itself.
    pub(super) application: String,
    pub(super) is_babelfish: bool,
    /// Locks that the server has counted more than once.
    upgraded: HashSet<Arc<str>>,
    doubt: Doubt,
}

/// What a session says of itself.
pub(super) struct SignOfLife {
    /// The server's number for it.
    pub(super) id: i64,
    pub(super) database: Option<String>,
    pub(super) is_read_only: bool,
    pub(super) application: String,
    pub(super) is_babelfish: bool,
}

/// After an error of a statement the state of the server is known only where the server itself has
/// reported the error, as one of the statement.
pub(super) fn session_error(error: TdsError) -> SessionError {
    match &error {
        TdsError::Server(token) if token.class() <= WORST_CLASS_OF_A_STATEMENT => {
            SessionError::Statement(refused(error.to_string()))
        }
        _ => SessionError::ended(error.to_string()),
    }
}

impl MsSqlSession {
    pub(super) fn new(
        client: Client<Compat<Socket>>,
        watch: Watch,
        server: Arc<dyn Reopen>,
    ) -> Self {
        Self {
            client,
            watch,
            server,
            id: 0,
            application: String::new(),
            is_babelfish: false,
            upgraded: HashSet::new(),
            doubt: Doubt::default(),
        }
    }

    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, TdsError> {
        let Statement { sql, values } = statement;
        let mut query = Query::new(sql);
        for value in &values {
            match value {
                Value::Text(text) => query.bind(&**text),
                Value::Int(int) => query.bind(*int),
            }
        }
        query
            .query(&mut self.client)
            .await?
            .into_first_result()
            .await
    }

    /// The statuses of an exchange, `expected` of them. A procedure that fails says so by an error
    /// as well, which hides its status: then nobody knows what the others have done.
    async fn statuses(
        &mut self,
        statement: Statement,
        expected: usize,
    ) -> Result<Vec<Status>, SessionError> {
        self.doubt.check()?;
        let rows = self.rows(statement).await.map_err(session_error)?;
        let row = rows.first();
        let status = |index| {
            let code = row.and_then(|row| row.cells().nth(index));
            Status::of(code.and_then(|(_, data)| integer(data)))
        };
        Ok((0..expected).map(status).collect())
    }

    /// What the status of a request for a lock means. Where it means nothing certain the session is
    /// not used again: the lock may be held.
    fn answer(&mut self, name: &str, status: Status) -> Answer {
        let failed = match status {
            Status::Granted => return Answer::Yes,
            Status::TimedOut => return Answer::No,
            Status::Other(statements::NOT_GRANTED) if self.is_babelfish => return Answer::No,
            Status::Deadlock => return Answer::Deadlock,
            Status::Cancelled => "the request was cancelled (-2)".to_owned(),
            Status::Other(code) => format!("the server answered {code}"),
            Status::Missing => "the server answered nothing".to_owned(),
        };
        let error = refused(format!("sp_getapplock of {name}: {failed}"));
        self.doubt.answer(error)
    }

    /// One lock, for which the server may wait.
    async fn acquire(
        &mut self,
        request: &Request,
        patience: Duration,
    ) -> Result<Answer, SessionError> {
        let acquire = Acquire {
            name: name(&request.key),
            mode: request.mode,
            patience,
        };
        let statement = statements::exchange(std::iter::empty(), std::iter::once(acquire));
        match self.statuses(statement, 1).await {
            Ok(statuses) => Ok(self.answer(acquire.name, statuses[0])),
            Err(SessionError::Statement(error)) => Ok(self.doubt.answer(error)),
            Err(error) => Err(error),
        }
    }

    /// A wait of Babelfish (4.3) that ends just when the lock is granted answers that it is not,
    /// and leaves it with the session, which nobody but its end takes it from. It holds nothing
    /// else.
    async fn begin_anew(&mut self) -> Result<(), SessionError> {
        let opened = Arc::clone(&self.server).reopen().await;
        *self = opened.map_err(|error| SessionError::ended(error.to_string()))?;
        Ok(())
    }

    pub(super) async fn sign_of_life(&mut self) -> Result<SignOfLife, TdsError> {
        let rows = self.client.simple_query(statements::SESSION).await?;
        let row = rows.into_row().await?;
        let row = row.ok_or_else(|| TdsError::Protocol("no answer to SELECT".into()))?;
        let number = |index| row.cells().nth(index).and_then(|(_, data)| integer(data));
        let id = number(0).ok_or_else(|| TdsError::Protocol("@@SPID is no number".into()))?;
        Ok(SignOfLife {
            id: id.into(),
            database: row.try_get::<&str, _>(1)?.map(str::to_owned),
            is_read_only: row.try_get::<&str, _>(2)? == Some(statements::READ_ONLY),
            application: row.try_get::<&str, _>(3)?.unwrap_or_default().to_owned(),
            is_babelfish: number(4) == Some(1),
        })
    }

    async fn listed(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, TdsError> {
        let rows = self.client.simple_query(statements::LOCKS).await?;
        let rows = rows.into_first_result().await?;
        Ok(rows.iter().filter_map(|row| listed(row, known)).collect())
    }

    /// For who may not list the locks: those among the known ones that somebody has.
    async fn asked_about(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, TdsError> {
        let mut locks = Vec::new();
        for known in known.chunks(MAX_BATCH) {
            let rows = self.rows(statements::held(known.iter().map(name))).await?;
            let Some(row) = rows.first() else {
                continue;
            };
            for (index, key) in known.iter().enumerate() {
                let is_free_for_us = row
                    .cells()
                    .nth(2 * index)
                    .and_then(|(_, data)| integer(data));
                let ours = row.try_get::<&str, _>(2 * index + 1)?;
                let ours = ours.and_then(statements::mode_of_this_session);
                let (mode, session, application) = match (ours, is_free_for_us) {
                    (Some(mode), _) => (mode, self.id, self.application.clone()),
                    // By whom and how, the server does not say.
                    (None, Some(0)) => (Mode::default(), 0, String::new()),
                    (None, _) => continue,
                };
                let holder = Holder {
                    session,
                    application,
                };
                locks.push(ServerLock::held(key.clone(), mode, holder));
            }
        }
        Ok(locks)
    }
}

fn listed(row: &Row, known: &[PhysicalKey]) -> Option<ServerLock> {
    let text = |index| row.try_get::<&str, _>(index).ok().flatten();
    let shown = statements::shown(text(0)?)?;
    let mut fitting = known
        .iter()
        .filter(|key| statements::is_shown_as(name(key), shown));
    let key = match (fitting.next(), fitting.next()) {
        (Some(key), None) => key.clone(),
        // A long name is shown cut.
        _ => PhysicalKey::Name(shown.into()),
    };
    let (_, session) = row.cells().nth(3)?;
    let holder = Holder {
        session: integer(session)?.into(),
        application: text(4).unwrap_or_default().to_owned(),
    };
    Some(ServerLock {
        granted: text(2)? != "WAIT",
        ..ServerLock::held(key, statements::mode(text(1)?)?, holder)
    })
}

fn integer(data: &ColumnData<'static>) -> Option<i32> {
    match *data {
        ColumnData::U8(int) => int.map(i32::from),
        ColumnData::I16(int) => int.map(i32::from),
        ColumnData::I32(int) => int,
        _ => None,
    }
}

fn name(key: &PhysicalKey) -> &Arc<str> {
    match key {
        PhysicalKey::Name(name) => name,
        PhysicalKey::Int(_) | PhysicalKey::Pair(..) => {
            unreachable!("BUG: SQL Server knows locks by name")
        }
    }
}

#[async_trait]
impl Session for MsSqlSession {
    fn number(&self) -> i64 {
        self.id
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn upgrade_locks(&mut self) -> Option<&mut dyn UpgradeLocks> {
        Some(self)
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        let Batch { releases, tries } = batch;
        let statement = statements::exchange(
            releases.iter().map(|request| Release {
                name: name(&request.key),
                is_upgraded: self.upgraded.contains(name(&request.key)),
            }),
            tries.iter().map(|request| Acquire {
                name: name(&request.key),
                mode: request.mode,
                patience: Duration::ZERO,
            }),
        );
        let statuses = match self.statuses(statement, releases.len() + tries.len()).await {
            Err(SessionError::Statement(error)) => return Ok(self.doubt.answers(batch, &error)),
            statuses => statuses?,
        };
        let (released, tried) = statuses.split_at(releases.len());
        let mut answers = Answers::default();
        for (request, status) in releases.iter().zip(released) {
            self.upgraded.remove(name(&request.key));
            // Whatever it is otherwise, this session does not hold what was thought.
            answers
                .releases
                .push(Answer::from(*status == Status::Granted));
        }
        for (request, status) in tries.iter().zip(tried) {
            answers.tries.push(self.answer(name(&request.key), *status));
        }
        Ok(answers)
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError> {
        let answer = self.acquire(request, slice).await?;
        if let (true, Answer::No) = (self.is_babelfish, &answer) {
            self.begin_anew().await?;
        }
        Ok(answer)
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        self.doubt.check()?;
        let life = self.sign_of_life().await.map_err(session_error)?;
        if life.id != self.id {
            return Err(SessionError::ended(format!(
                "another server session answers: {} in the place of {}",
                life.id, self.id
            )));
        }
        match life.is_read_only {
            false => Ok(()),
            true => Err(SessionError::ended(
                "the database has become read-only, like a secondary replica: its locks exclude nobody on the primary",
            )),
        }
    }

    async fn locks(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, SessionError> {
        let listed = match self.listed(known).await {
            // There is no such list, or not for this login.
            Err(TdsError::Server(_)) => self.asked_about(known).await,
            listed => listed,
        };
        listed.map_err(session_error)
    }

    async fn gone(&mut self) -> SessionError {
        match self.doubt.check() {
            Ok(()) => SessionError::ended(self.watch.until_anything_comes().await),
            Err(doubt) => doubt,
        }
    }

    async fn close(self: Box<Self>) {
        // A lock ends with its socket, which is closed either way.
        drop(timeout(Duration::from_secs(1), self.client.close()).await);
    }
}

#[async_trait]
impl UpgradeLocks for MsSqlSession {
    async fn upgrade(
        &mut self,
        request: &Request,
        slice: Duration,
    ) -> Result<Answer, SessionError> {
        let patience = match self.is_babelfish {
            true => Duration::ZERO,
            false => slice,
        };
        let answer = self.acquire(request, patience).await?;
        if let Answer::Yes = answer {
            self.upgraded.insert(Arc::clone(name(&request.key)));
        }
        Ok(answer)
    }
}
