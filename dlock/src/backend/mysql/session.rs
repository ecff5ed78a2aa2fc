//! A MySQL or MariaDB session by sqlx: one connection, taken out of its pool. Its end shows only
//! when it is asked for, so it is, often.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, MySqlConnection, Row};
use tokio::time::{sleep, timeout};

use super::group::Group;
use super::identity::{self, Identity};
use super::keys::ServerKind;
use super::misdirected::{another_session, misdirected};
use super::statements::{self, GRANTED};
use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::capabilities::Capabilities;
use crate::backend::session::{ObserveSessions, Session};
use crate::backend::session_error::SessionError;
use crate::backend::shared::one_server::Standing;
use crate::backend::sqlx::open::{db_err, session_error};
use crate::backend::sqlx::pinned::{PinnableSession, Slot};
use crate::key::PhysicalKey;
use crate::server_lock::{Holder, ServerLock};

/// A lock that is gone is noticed within a second.
const HEARTBEAT: Duration = Duration::from_millis(500);

pub(super) const CAPABILITIES: Capabilities = Capabilities {
    waits: true,
    heartbeat: Some(HEARTBEAT),
    tells_holders: true,
};

/// What ended a wait early may end the next one as well.
const PAUSE: Duration = Duration::from_millis(10);

// <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>

/// An operator has ended the statement.
const INTERRUPTED: u16 = 1317;

/// The statement has lasted for as long as it may.
const OUT_OF_TIME: u16 = 3024;

/// All sessions together have as many prepared statements as the server allows.
const TOO_MANY_STATEMENTS: u16 = 1461;

/// An operator may end a short statement by accident; who ends it so often means it.
const ATTEMPTS: usize = 3;

pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// One connection, for the whole of its life.
pub(crate) struct MySqlSession {
    pub(super) transport: Transport,
    pub(super) server: ServerKind,
    /// The default until it is known: on no session its proof is true.
    pub(super) identity: Identity,
    pub(super) standing: Standing,
    /// The server's replication group, if it is in one.
    pub(super) group: Option<Group>,
    /// What it held before the statement that runs.
    pub(super) held: HashSet<Arc<str>>,
}

/// The connection, with its owner.
pub(super) enum Transport {
    Owned(MySqlConnection),
    Pinned(Slot<sqlx::MySql>),
}

impl MySqlSession {
    pub(super) fn connection(&mut self) -> &mut MySqlConnection {
        match &mut self.transport {
            Transport::Owned(connection) => connection,
            Transport::Pinned(slot) => slot.connection(),
        }
    }

    pub(super) async fn optional_row(
        &mut self,
        sql: String,
    ) -> Result<Option<MySqlRow>, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        query.fetch_optional(self.connection()).await
    }

    /// For a statement that may be repeated.
    pub(super) async fn row_at_last(&mut self, sql: String) -> Result<MySqlRow, sqlx::Error> {
        let row = self.optional_row_at_last(sql).await?;
        row.ok_or(sqlx::Error::RowNotFound)
    }

    pub(super) async fn optional_row_at_last(
        &mut self,
        sql: String,
    ) -> Result<Option<MySqlRow>, sqlx::Error> {
        for _ in 1..ATTEMPTS {
            match self.optional_row(sql.clone()).await {
                Err(error) if number(&error) == Some(INTERRUPTED) => {}
                row => return row,
            }
        }
        self.optional_row(sql).await
    }

    /// The answer, if this session gave it and all sessions of the pool are on its server.
    pub(super) async fn answered<T>(&mut self, answer: Option<T>) -> Result<T, SessionError> {
        match answer {
            Some(answer) => {
                self.standing.has_answered()?;
                Ok(answer)
            }
            None => Err(Box::pin(self.misdirected()).await),
        }
    }

    /// A lock of a primary that was cut off from its group is not to be relied on.
    async fn is_in_group(&mut self) -> Result<(), SessionError> {
        match self.group_refusal().await.map_err(session_error)? {
            None => Ok(()),
            Some(error) => Err(SessionError::ended(error.to_string())),
        }
    }

    /// Asks the session that answers now who it is, after a statement that did nothing: another
    /// session ran it, or the server cannot be written to.
    async fn misdirected(&mut self) -> SessionError {
        let expected = self.identity.clone();
        let who_answers = identity::who_answers(expected.server.as_ref());
        match self.row_at_last(who_answers).await {
            Ok(row) => misdirected(&expected, &row).unwrap_or_else(session_error),
            Err(error) => SessionError::Refused(another_session(
                &expected,
                format!("an answer of another server session (asked which one, it says: {error})"),
            )),
        }
    }

    pub(super) fn note(&mut self, request: &Request, answer: &Answer) {
        if let Answer::Yes = answer {
            self.held.insert(Arc::clone(name(&request.key)));
        }
    }
}

pub(super) fn name(key: &PhysicalKey) -> &Arc<str> {
    match key {
        PhysicalKey::Name(name) => name,
        PhysicalKey::Int(_) | PhysicalKey::Pair(..) => {
            unreachable!("BUG: MySQL knows locks by name")
        }
    }
}

#[async_trait]
impl Session for MySqlSession {
    fn number(&self) -> i64 {
        i64::try_from(self.identity.session).unwrap_or(i64::MAX)
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn observe_sessions(&mut self) -> Option<&mut dyn ObserveSessions> {
        Some(self)
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        if let Transport::Pinned(_) = self.transport
            && !batch.releases.is_empty()
        {
            // What the holder of a pinned lock has begun by a statement of its own.
            let rollback = self.execute(statements::ROLLBACK.to_owned()).await;
            rollback.map_err(session_error)?;
        }
        self.standing.note_dispute();
        if !batch.tries.is_empty() {
            self.is_in_group().await?;
        }
        for request in &batch.releases {
            self.held.remove(name(&request.key));
        }
        let said = match self.ask(batch).await {
            Err(error) if number(&error) == Some(TOO_MANY_STATEMENTS) => {
                self.ask_in_words(batch).await
            }
            said => said,
        };
        let said = match said {
            Ok(said) => Some(self.answered(said).await?),
            Err(error) if error.as_database_error().is_none() => return Err(session_error(error)),
            Err(_) => None,
        };
        let answers = match said {
            Some(said) if said.is_whole() => said.answers(),
            _ => return self.redo(batch).await,
        };
        for (request, answer) in batch.tries.iter().zip(&answers.tries) {
            self.note(request, answer);
        }
        Ok(answers)
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError> {
        self.standing.note_dispute();
        self.is_in_group().await?;
        let sql = statements::wait(&self.identity, self.server, name(&request.key), slice);
        let waited = match self.optional_row(sql).await {
            Ok(row) => {
                let row = self.answered(row).await?;
                row.try_get::<Option<i64>, _>(0)
            }
            Err(error) => Err(error),
        };
        let answer = match waited {
            Ok(Some(answer)) => {
                let answer = Answer::from(answer == GRANTED);
                self.note(request, &answer);
                return Ok(answer);
            }
            Err(error) if error.as_database_error().is_none() => return Err(session_error(error)),
            Err(error) => match number(&error) {
                Some(OUT_OF_TIME) => Some(Answer::No),
                Some(INTERRUPTED) => None,
                _ => Some(Answer::Failed(db_err(error))),
            },
            // Interrupted, on MariaDB.
            Ok(None) => None,
        };
        // A wait that was not granted holds nothing, whatever the server did.
        self.give_back(std::slice::from_ref(request)).await?;
        if answer.is_none() {
            sleep(PAUSE).await;
        }
        Ok(answer.unwrap_or(Answer::No))
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        self.standing.note_dispute();
        self.is_in_group().await?;
        let ping = identity::ping(&self.identity);
        let answer = self
            .optional_row_at_last(ping)
            .await
            .map_err(session_error)?;
        self.answered(answer).await.map(drop)
    }

    async fn locks(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, SessionError> {
        match self.listed(known).await {
            Ok(locks) if !locks.is_empty() => Ok(locks),
            Err(error) if error.as_database_error().is_none() => Err(session_error(error)),
            // There is none, or the server does not watch its locks, or does not tell us.
            Ok(_) | Err(_) => self.asked_about(known).await.map_err(session_error),
        }
    }

    async fn holder_of(&mut self, key: &PhysicalKey) -> Result<Option<Holder>, SessionError> {
        let locks = self.asked_about(std::slice::from_ref(key)).await;
        let holder = locks.map_err(session_error)?.pop().map(|lock| lock.holder);
        Ok(holder)
    }

    async fn gone(&mut self) -> SessionError {
        std::future::pending().await
    }

    async fn close(self: Box<Self>) {
        let closing = async {
            match self.transport {
                Transport::Owned(connection) => connection.close().await,
                Transport::Pinned(slot) => slot.close().await,
            }
        };
        drop(timeout(Duration::from_secs(1), closing).await);
    }
}

#[async_trait]
impl ObserveSessions for MySqlSession {
    async fn is_held_by(&mut self, lock: &Request, holder: i64) -> Result<bool, SessionError> {
        let holder_of = statements::holder_of(&self.identity, name(&lock.key));
        let row = self
            .optional_row_at_last(holder_of)
            .await
            .map_err(session_error)?;
        let row = self.answered(row).await?;
        let found: Option<u64> = row.try_get(0).map_err(session_error)?;
        Ok(found.is_some_and(|found| i64::try_from(found) == Ok(holder)))
    }

    async fn end_holder(&mut self, lock: &Request, holder: i64) -> Result<(), SessionError> {
        if self.is_held_by(lock, holder).await? {
            self.execute(statements::kill(holder))
                .await
                .map_err(session_error)?;
        }
        Ok(())
    }
}

impl PinnableSession<sqlx::MySql> for MySqlSession {
    fn slot(&mut self) -> &mut Slot<sqlx::MySql> {
        match &mut self.transport {
            Transport::Pinned(slot) => slot,
            Transport::Owned(_) => unreachable!("BUG: it is not pinned"),
        }
    }
}
