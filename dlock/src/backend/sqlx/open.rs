//! How a session on a server is opened: like one of the application's, and when that fails, with
//! the reason.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::pool::{PoolConnection, PoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Database, Pool};
use sea_orm::{DbErr, RuntimeErr};
use tokio::time::{Instant, sleep, timeout};

use super::pool::Options;
use crate::backend::session::Session;
use crate::backend::session_error::{NoAnswer, SessionError};
use crate::backend::shared::trouble::{STARTUP, Trouble};
use crate::error::Phase;

/// A connection that takes longer than this is looked into by another one.
const DOUBT: Duration = Duration::from_millis(250);

/// For this long it may succeed, whatever the other one meets.
const TRUST: Duration = Duration::from_secs(1);

/// A server that says nothing for this long is trouble.
const SILENCE: Duration = Duration::from_secs(1);

/// The error as SeaORM has it.
pub(crate) fn db_err(error: sqlx::Error) -> DbErr {
    match session_error(error) {
        SessionError::Ended(error)
        | SessionError::Silent(error)
        | SessionError::Unreachable(error)
        | SessionError::Statement(error) => error,
        SessionError::Refused(error) => DbErr::Custom(error.to_string()),
    }
}

/// An error of the connection ends the session. An error of a statement leaves it as it was.
pub(crate) fn session_error(error: sqlx::Error) -> SessionError {
    let error = Arc::new(error);
    let source = || RuntimeErr::SqlxError(Arc::clone(&error));
    match &*error {
        sqlx::Error::Database(_)
        | sqlx::Error::RowNotFound
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => SessionError::Statement(DbErr::Query(source())),
        sqlx::Error::Io(io) if is_silence(io) => SessionError::Silent(DbErr::Conn(source())),
        error if nobody_listens(error) => SessionError::Unreachable(DbErr::Conn(source())),
        _ => SessionError::Ended(DbErr::Conn(source())),
    }
}

fn is_silence(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<NoAnswer>())
}

/// Opens a connection in a pool that has no other.
pub(crate) async fn open_alone<DB: Database>(
    pool: PoolOptions<DB>,
    options: Options<DB>,
) -> Result<(Pool<DB>, PoolConnection<DB>), sqlx::Error> {
    let pool = pool.connect_lazy_with(options);
    let connection = pool.acquire().await?;
    Ok((pool, connection))
}

/// How sessions are opened.
pub(crate) struct Opening<'a, DB: Database> {
    pub(crate) options: &'a Options<DB>,
    /// Whether an error is that of a server that is about to come up.
    pub(crate) is_starting: fn(&sqlx::Error) -> bool,
    /// How long the server may be silent.
    pub(crate) limit: Duration,
    /// How long sqlx's pool tries.
    pub(crate) acquire_timeout: Duration,
    pub(crate) trouble: &'a Trouble,
}

impl<DB: Database> Opening<'_, DB> {
    /// Opens a session, or says why it cannot be opened.
    pub(crate) async fn connect<S, Opened>(
        &self,
        open: impl Fn() -> Opened,
    ) -> Result<S, sqlx::Error>
    where
        Opened: Future<Output = Result<S, sqlx::Error>>,
    {
        let _attempt = self.trouble.begin();
        self.open(open).await
    }

    async fn open<S, Opened>(&self, open: impl Fn() -> Opened) -> Result<S, sqlx::Error>
    where
        Opened: Future<Output = Result<S, sqlx::Error>>,
    {
        let patience = Instant::now() + STARTUP;
        loop {
            tokio::select! {
                opened = open() => return match opened {
                    Err(sqlx::Error::PoolTimedOut) => Err(self.why_timed_out().await),
                    opened => opened,
                },
                why = self.cannot_connect(patience) => {
                    if let Some(error) = why {
                        return Err(error);
                    }
                }
            }
            // The server has come up: sqlx's pool, which waits longer and longer, begins anew.
        }
    }

    /// sqlx's pool goes on for its whole `acquire_timeout` when the server refuses or is silent,
    /// and then hides why. Resolves with the reason, or with none as soon as a server that was
    /// starting has come up. Not at once, since it takes a connection of its own.
    async fn cannot_connect(&self, patience: Instant) -> Option<sqlx::Error> {
        let Self {
            options,
            is_starting,
            limit,
            ..
        } = *self;
        let begun = Instant::now();
        sleep(DOUBT).await;
        let mut was_starting = false;
        loop {
            let probe = timeout(limit, self.noting_silence(options.connect())).await;
            match probe.unwrap_or_else(|_elapsed| Err(silent(limit))) {
                Ok(probe) => {
                    self.trouble.clear();
                    drop(timeout(limit, probe.close()).await);
                    if was_starting {
                        return None;
                    }
                    // The server is well, so it is this one connection that is stuck, or the
                    // application's hook.
                    sleep(limit).await;
                    return Some(sqlx::Error::PoolTimedOut);
                }
                Err(error) if is_starting(&error) && Instant::now() < patience => {
                    was_starting = true;
                    self.trouble.note(&refused(error).of(Phase::Connect));
                }
                // Another reason may be the probe's own, such as a limit of connections.
                Err(_) if begun.elapsed() < TRUST => {}
                Err(error) => return Some(error),
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Records a connection error after a second without an answer.
    async fn noting_silence<T>(&self, connecting: impl Future<Output = T>) -> T {
        let mut connecting = pin!(connecting);
        if let Ok(connected) = timeout(SILENCE, &mut connecting).await {
            return connected;
        }
        self.trouble
            .note(&refused(silent(SILENCE)).of(Phase::Connect));
        connecting.await
    }

    /// The reason why sqlx's pool had no connection in time, which it does not tell.
    async fn why_timed_out(&self) -> sqlx::Error {
        let Self {
            options,
            limit,
            acquire_timeout,
            ..
        } = *self;
        match timeout(limit, options.connect()).await {
            Ok(Ok(connection)) => {
                drop(timeout(limit, connection.close()).await);
                let why = format!(
                    "the server accepts connections, but no session came up within the connection's \
                     acquire_timeout of {acquire_timeout:?}: raise it if it is too short to connect, \
                     or mend the connection's after_connect hook if that fails (sqlx logs why) or takes \
                     too long"
                );
                sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why))
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => silent(limit),
        }
    }
}

/// Nobody listens yet, as far as the operating system knows.
pub(crate) fn nobody_listens(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused)
}

pub(crate) fn refused(error: sqlx::Error) -> SessionError {
    match error {
        sqlx::Error::PoolTimedOut => SessionError::ended(
            "the server accepts connections, but no session came up in time: the connection's after_connect hook fails (sqlx logs why) or \
             takes too long, or this one connection was cut off",
        ),
        error => session_error(error),
    }
}

/// What the server must answer in time, in several round trips.
pub(crate) async fn in_time(
    limit: Duration,
    check: impl Future<Output = Result<(), SessionError>>,
) -> Result<(), SessionError> {
    let limit = limit.max(Duration::from_secs(1));
    let stuck = |_elapsed| {
        let stuck =
            format!("the server accepted the connection and answered nothing within {limit:?}");
        SessionError::Silent(DbErr::Conn(RuntimeErr::Internal(stuck)))
    };
    timeout(limit, check).await.map_err(stuck)?
}

/// A session is used only when its check has passed; otherwise it is closed.
pub(crate) async fn keep_if<S: Session>(
    checked: Result<(), SessionError>,
    session: S,
) -> Result<S, SessionError> {
    match checked {
        Ok(()) => Ok(session),
        Err(error) => {
            Box::new(session).close().await;
            Err(error)
        }
    }
}

fn silent(limit: Duration) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, NoAnswer(limit)))
}

/// A setting of the session and its value.
pub(crate) type Setting = (&'static str, String);

/// A session that has settings.
pub(crate) trait Configure {
    /// All of them or none.
    fn set(&mut self, settings: &[Setting])
    -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// An older server lacks some settings, another platform refuses some: the lock is sound without
/// them.
pub(crate) async fn set_all(
    session: &mut impl Configure,
    settings: &[Setting],
) -> Result<(), sqlx::Error> {
    if accepted(session.set(settings).await)? {
        return Ok(());
    }
    for setting in settings {
        if !accepted(session.set(std::slice::from_ref(setting)).await)? {
            let (setting, value) = setting;
            tracing::debug!(setting, value, "dlock: setting refused by the server");
        }
    }
    Ok(())
}

/// Whether the server took it.
fn accepted(set: Result<(), sqlx::Error>) -> Result<bool, sqlx::Error> {
    match set {
        Ok(()) => Ok(true),
        Err(error) if error.as_database_error().is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pinned lock is given up when its server is silent, and not when no session can be had.
    #[tokio::test(start_paused = true)]
    async fn a_check_without_an_answer_tells_that_the_server_is_silent() {
        let checked = in_time(Duration::from_secs(1), std::future::pending()).await;
        assert!(
            matches!(checked, Err(SessionError::Silent(_))),
            "{checked:?}"
        );
    }

    #[test]
    fn an_error_is_told_by_its_type_and_keeps_its_text() {
        let limit = Duration::from_secs(1);
        let silent = session_error(silent(limit));
        assert!(matches!(silent, SessionError::Silent(_)), "{silent:?}");
        let text = "no answer from the server within 1s";
        assert!(silent.to_string().contains(text), "{silent}");
        let io = |kind| sqlx::Error::Io(io::Error::new(kind, text));
        let refused = session_error(io(io::ErrorKind::ConnectionRefused));
        assert!(matches!(refused, SessionError::Unreachable(_)));
        let slow = session_error(io(io::ErrorKind::TimedOut));
        assert!(matches!(slow, SessionError::Ended(_)), "{slow:?}");
        let statement = session_error(sqlx::Error::RowNotFound);
        assert!(matches!(statement, SessionError::Statement(_)));
    }
}
