//! A PostgreSQL session by sqlx. A `PgListener` lets one connection execute and, while it is idle,
//! notice that it was closed; nothing is listened for.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::postgres::{PgListener, PgPool, PgRow};
use sea_orm::sqlx::{self, Acquire, AssertSqlSafe, PgConnection, Postgres, Row};
use tokio::time::timeout;

use super::errors::{IN_FAILED_TRANSACTION, QUERY_CANCELED, UNDEFINED_OBJECT, code, explained};
use super::identity::{another_session, misdirected};
use super::listing::{holder, lock};
use super::statements::{self, Identity, WaitAnswer};
use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::capabilities::Capabilities;
use crate::backend::session::{ObserveSessions, Session};
use crate::backend::session_error::SessionError;
use crate::backend::shared::one_server::Standing;
use crate::backend::sqlx::open::session_error;
use crate::backend::sqlx::pinned::{PinnableSession, Slot};
use crate::key::PhysicalKey;
use crate::server_lock::{Holder, ServerLock};

/// With PL/pgSQL in the database, which a wait takes.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    waits: true,
    heartbeat: None,
    tells_holders: true,
};

/// One connection, for the whole of its life.
pub(crate) struct PgSession {
    pub(super) transport: Transport,
    pub(super) can_wait: bool,
    /// The default until it is known: on no session its proof is true.
    pub(super) identity: Identity,
    pub(super) standing: Standing,
}

/// The connection, with its owner.
pub(super) enum Transport {
    Owned {
        listener: PgListener,
        /// The listener's pool of one, closed from the start: a lost connection is never opened
        /// again behind our back.
        pool: PgPool,
    },
    Pinned(Slot<Postgres>),
}

impl PgSession {
    pub(super) async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        match &mut self.transport {
            Transport::Owned { listener, .. } => listener.acquire().await,
            Transport::Pinned(slot) => Ok(slot.connection()),
        }
    }

    pub(super) async fn row(&mut self, sql: String) -> Result<PgRow, sqlx::Error> {
        let row = self.optional_row(sql).await?;
        row.ok_or(sqlx::Error::RowNotFound)
    }

    /// By one message, so that no pooler can send its parts to several sessions.
    async fn optional_row(&mut self, sql: String) -> Result<Option<PgRow>, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        query.fetch_optional(self.connection().await?).await
    }

    /// The proof of a pinned session, whose holder may have begun a transaction: `SHOW` takes no
    /// snapshot there, and is refused only in a transaction that has failed.
    async fn shows_stamp(&mut self) -> Result<bool, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(statements::SHOW_STAMP));
        let found: Option<String> = match query.fetch_one(self.connection().await?).await {
            Err(error) if code(&error) == Some(IN_FAILED_TRANSACTION) => return Ok(true),
            Err(error) if code(&error) == Some(UNDEFINED_OBJECT) => None,
            row => row?.try_get(0)?,
        };
        Ok(found.as_ref() == Some(&self.identity.stamp))
    }

    /// The proof by a statement of its own.
    pub(super) async fn prove(&mut self) -> Result<(), SessionError> {
        let ping = statements::ping(&self.identity);
        let answer = self.optional_row(ping).await.map_err(session_error)?;
        self.answered(answer).await.map(drop)
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

    /// Asks the session that answers now who it is, after another one has answered.
    pub(super) async fn misdirected(&mut self) -> SessionError {
        let expected = self.identity.clone();
        match self.row(statements::who_answers()).await {
            Ok(row) => misdirected(&expected, &row).unwrap_or_else(session_error),
            Err(error) => SessionError::Refused(another_session(
                &expected,
                format!("an answer of another server session (asked which one, it says: {error})"),
            )),
        }
    }

    /// Whether there was any row.
    async fn any(&mut self, sql: String) -> Result<bool, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        let row = query.fetch_optional(self.connection().await?).await?;
        Ok(row.is_some())
    }

    /// What the holder of a pinned lock has begun by a statement of its own.
    async fn leave_transaction(&mut self) -> Result<(), SessionError> {
        let inside = match self.any(statements::in_transaction()).await {
            Err(error) if code(&error) == Some(IN_FAILED_TRANSACTION) => true,
            inside => inside.map_err(session_error)?,
        };
        if inside {
            self.any(statements::ROLLBACK.to_owned())
                .await
                .map_err(session_error)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Session for PgSession {
    fn number(&self) -> i64 {
        self.identity.pid.into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            waits: self.can_wait,
            ..CAPABILITIES
        }
    }

    fn observe_sessions(&mut self) -> Option<&mut dyn ObserveSessions> {
        Some(self)
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        self.standing.note_dispute();
        if let Transport::Pinned(_) = self.transport
            && !batch.releases.is_empty()
        {
            Box::pin(self.leave_transaction()).await?;
        }
        match self.ask(batch).await {
            Ok(answers) => self.answered(answers).await,
            Err(error) if error.as_database_error().is_some() => Box::pin(self.redo(batch)).await,
            Err(error) => Err(session_error(error)),
        }
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError> {
        self.standing.note_dispute();
        let identity = &self.identity;
        let sql = statements::wait(identity, &request.key, request.mode, slice);
        let connection = self.connection().await.map_err(session_error)?;
        let waited = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(connection)
            .await;
        let error = match waited {
            Ok(rows) => {
                let answer = match wait_answer(&rows).map_err(session_error)? {
                    WaitAnswer::Granted => Some(Answer::Yes),
                    WaitAnswer::Busy => Some(Answer::No),
                    WaitAnswer::WrongSession => None,
                };
                return self.answered(answer).await;
            }
            Err(error) if error.as_database_error().is_none() => return Err(session_error(error)),
            Err(error) => error,
        };
        // The lock may have been granted all the same.
        let unlock_all = statements::unlock_all(&self.identity);
        let unlocked = self.optional_row(unlock_all).await.map_err(session_error)?;
        self.answered(unlocked).await?;
        match code(&error) {
            Some(QUERY_CANCELED) => Ok(Answer::No),
            _ => Ok(Answer::Failed(explained(error))),
        }
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        self.standing.note_dispute();
        let is_pinned = matches!(self.transport, Transport::Pinned(_));
        // Pgpool-II sends a SHOW to any node: it can prove the session, and cannot refute it.
        if is_pinned && self.shows_stamp().await.map_err(session_error)? {
            return self.answered(Some(())).await;
        }
        self.prove().await
    }

    async fn locks(&mut self, _: &[PhysicalKey]) -> Result<Vec<ServerLock>, SessionError> {
        let query = sqlx::raw_sql(AssertSqlSafe(statements::locks()));
        let connection = self.connection().await.map_err(session_error)?;
        let rows = query.fetch_all(connection).await.map_err(session_error)?;
        let locks = rows.iter().filter_map(|row| lock(row).transpose());
        locks.map(|lock| lock.map_err(session_error)).collect()
    }

    async fn holder_of(&mut self, key: &PhysicalKey) -> Result<Option<Holder>, SessionError> {
        let row = self
            .optional_row(statements::holder_of(key))
            .await
            .map_err(session_error)?;
        row.as_ref().map(holder).transpose().map_err(session_error)
    }

    async fn gone(&mut self) -> SessionError {
        let Transport::Owned { listener, .. } = &mut self.transport else {
            return std::future::pending().await;
        };
        loop {
            match listener.try_recv().await {
                Ok(Some(_notification)) => {}
                Ok(None) => {
                    let closed = "the server closed the session";
                    return SessionError::ended(closed);
                }
                Err(error) => return session_error(error),
            }
        }
    }

    /// sqlx says goodbye in a task of its own, which ends when the server answers or its TCP
    /// connection does: where nobody answers, that can be long after this.
    async fn close(self: Box<Self>) {
        let closing = async {
            match self.transport {
                Transport::Owned { listener, pool } => {
                    drop(listener);
                    pool.close().await;
                }
                Transport::Pinned(slot) => drop(slot.close().await),
            }
        };
        drop(timeout(Duration::from_secs(1), closing).await);
    }
}

#[async_trait]
impl ObserveSessions for PgSession {
    async fn is_held_by(&mut self, lock: &Request, holder: i64) -> Result<bool, SessionError> {
        let identity = &self.identity;
        let held = statements::held(identity, &lock.key, lock.mode, holder);
        let row = self.optional_row(held).await.map_err(session_error)?;
        let row = self.answered(row).await?;
        row.try_get(0).map_err(session_error)
    }

    async fn end_holder(&mut self, lock: &Request, holder: i64) -> Result<(), SessionError> {
        let identity = &self.identity;
        let end = statements::end_holder(identity, &lock.key, lock.mode, holder);
        self.any(end).await.map(drop).map_err(session_error)
    }
}

impl PinnableSession<Postgres> for PgSession {
    fn slot(&mut self) -> &mut Slot<Postgres> {
        match &mut self.transport {
            Transport::Pinned(slot) => slot,
            Transport::Owned { .. } => unreachable!("BUG: it is not pinned"),
        }
    }
}

/// What stands in the last row of a [wait](statements::wait).
fn wait_answer(rows: &[PgRow]) -> Result<WaitAnswer, sqlx::Error> {
    let [_parameters, answer] = rows else {
        return Err(sqlx::Error::Protocol(format!(
            "a wait was answered by {} rows",
            rows.len()
        )));
    };
    let answer: String = answer.try_get(0)?;
    let unknown = || sqlx::Error::Protocol(format!("a wait was answered by `{answer}`"));
    WaitAnswer::from_text(&answer).ok_or_else(unknown)
}
