//! How a PostgreSQL session is opened: like one of the application's, and refused where its locks would mean nothing.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Row};
use sea_orm::{DbErr, RuntimeErr};
use tokio::time::{Instant, sleep, timeout};

use super::{PgSession, code, db};
use crate::dialect::Dialect;
use crate::dialect::postgres::{self as dialect, Postgres};
use crate::error::{Error, Phase};
use crate::session::sqlx::{Driver, Latest};
use crate::session::{ConnectSettings, Connector, Session};

/// How long a server that refuses connections may take to come (back) up.
const STARTUP: Duration = Duration::from_secs(5);

/// Opens sessions like the application's own connections: its hooks, its TLS, its password of today.
pub(crate) struct PgConnector {
    pool: PgPoolOptions,
    latest: Latest<sqlx::Postgres>,
    trust_session_pooling: bool,
    /// The settings of a lock session, for the whole of its life.
    settings: Vec<Setting>,
    keepalive: Duration,
}

type Setting = (&'static str, String);

impl PgConnector {
    fn new(pool: &PgPool, settings: ConnectSettings) -> Self {
        let ConnectSettings {
            keepalive,
            trust_session_pooling,
        } = settings;
        // A session of the application's may be recycled, counted and cleaned (`DISCARD ALL` frees the locks); a lock session may not.
        let options = (pool.options().clone())
            .max_connections(1)
            .min_connections(0)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|_, _| Box::pin(async { Ok(true) }));
        let seconds = keepalive.as_secs().clamp(1, 3600);
        let probe = (seconds / 3).max(1);
        let settings = vec![
            // What ends a statement or a session from outside must not end a lock.
            ("statement_timeout", "0".into()),
            ("lock_timeout", "0".into()),
            ("idle_session_timeout", "0".into()),
            ("idle_in_transaction_session_timeout", "0".into()),
            // What tells the server that this process is gone: killed while it waits, or its host cut off.
            ("client_connection_check_interval", "500ms".into()),
            ("tcp_keepalives_idle", seconds.to_string()),
            ("tcp_keepalives_interval", probe.to_string()),
            ("tcp_keepalives_count", "3".into()),
            ("tcp_user_timeout", (2000 * seconds).to_string()),
        ];
        Self {
            pool: options,
            latest: Latest::of(pool),
            trust_session_pooling,
            settings,
            keepalive,
        }
    }

    fn options(&self, token: &str) -> PgConnectOptions {
        let options = PgConnectOptions::clone(&self.latest.options()).disable_statement_logging();
        match self.trust_session_pooling {
            true => options,
            false => options.options([(dialect::SESSION_TOKEN, token)]),
        }
    }
}

impl Driver for sqlx::Postgres {
    type Connector = PgConnector;

    fn connector(pool: &PgPool, settings: ConnectSettings) -> PgConnector {
        PgConnector::new(pool, settings)
    }

    fn latest(connector: &PgConnector) -> &Latest<Self> {
        &connector.latest
    }
}

#[async_trait]
impl Connector for PgConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        &Postgres
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let token = format!("{:032x}", fastrand::u128(..));
        let options = self.options(&token);
        let opened = tokio::select! {
            opened = PgSession::open(self.pool.clone(), options.clone()) => opened,
            error = cannot_connect(&options, self.keepalive) => Err(error),
        };
        let mut session = Box::new(opened.map_err(refused)?);
        match timeout(self.keepalive, session.check(&token, self)).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(error)) => {
                session.close().await;
                Err(error)
            }
            Err(_elapsed) => {
                session.close().await;
                Err(Phase::Connect.failed(db(silent(self.keepalive))))
            }
        }
    }
}

/// sqlx's pool goes on for its whole `acquire_timeout` when the server refuses or is silent, and then hides why. Resolves with the reason.
/// Not before a second has passed, since it takes a connection of its own.
async fn cannot_connect(options: &PgConnectOptions, limit: Duration) -> sqlx::Error {
    let patience = Instant::now() + STARTUP;
    loop {
        sleep(Duration::from_secs(1)).await;
        let probe = timeout(limit, options.connect()).await;
        match probe.unwrap_or_else(|_elapsed| Err(silent(limit))) {
            Ok(probe) => {
                // The server is well, so it is this one connection that is stuck, or the application's hook.
                drop(timeout(limit, probe.close()).await);
                sleep(limit).await;
                return sqlx::Error::PoolTimedOut;
            }
            Err(error) if is_starting(&error) && Instant::now() < patience => {}
            Err(error) => return error,
        }
    }
}

/// Refused by the operating system, or by a server that starts or stops (57P03).
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(io) => io.kind() == io::ErrorKind::ConnectionRefused,
        other => code(other) == Some("57P03"),
    }
}

/// A proxy that knows no start-up option of ours says so in words.
fn refused(error: sqlx::Error) -> Error {
    let pooler = error.as_database_error().is_some_and(|error| {
        let message = error.message();
        message.contains("startup parameter") || message.contains(dialect::SESSION_TOKEN)
    });
    match error {
        _ if pooler => POOLER,
        sqlx::Error::PoolTimedOut => Phase::Connect.failed(DbErr::Conn(RuntimeErr::Internal(
            "the server accepts connections, but no session came up in time: the connection's after_connect hook fails (sqlx logs why) or \
             takes too long, or this one connection was cut off"
                .to_owned(),
        ))),
        error => Phase::Connect.failed(db(error)),
    }
}

fn silent(limit: Duration) -> sqlx::Error {
    let message = format!("no answer from the server within {limit:?}");
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

const POOLER: Error = Error::Unsupported {
    backend: "a connection pooler in front of PostgreSQL",
    feature: "session locks",
    hint: "a pooler that shares server sessions orphans them: name a direct connection with `LockPool::builder(&db).sessions_from(&direct)`, \
           use `txn.dlock(key).xact()`, or, if it pools whole sessions, `.trust_session_pooling()`",
};

const STANDBY: Error = Error::Unsupported {
    backend: "a PostgreSQL hot standby",
    feature: "locks",
    hint: "its locks exclude nobody on the primary: connect to the primary",
};

const COCKROACH: Error = Error::Unsupported {
    backend: "CockroachDB",
    feature: "advisory locks",
    hint: "it accepts the calls and locks nothing: use a PostgreSQL server for locks",
};

impl PgSession {
    async fn open(pool: PgPoolOptions, options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = pool.connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        drop(pool.close());
        Ok(Self {
            listener,
            pool,
            can_wait: false,
        })
    }

    /// Is this a session of our own, on a server whose locks count? Then it gets its settings.
    async fn check(&mut self, token: &str, connector: &PgConnector) -> Result<(), Error> {
        let failed = |error| Phase::Connect.failed(db(error));
        let row = self.row(dialect::version()).await.map_err(failed)?;
        let version: String = row.try_get(0).map_err(failed)?;
        if version.contains("CockroachDB") {
            return Err(COCKROACH);
        }
        let row = self.row(dialect::server()).await.map_err(failed)?;
        let found: Option<String> = row.try_get(0).map_err(failed)?;
        if found.as_deref() != Some(token) && !connector.trust_session_pooling {
            return Err(POOLER);
        }
        if row.try_get(1).map_err(failed)? {
            return Err(STANDBY);
        }
        self.can_wait = row.try_get(2).map_err(failed)?;
        let application: Option<String> = row.try_get(3).map_err(failed)?;
        let name = match application.as_deref() {
            None | Some("") => "dlock".to_owned(),
            Some(application) => format!("{application} dlock"),
        };
        let mut settings = connector.settings.clone();
        settings.push(("application_name", name));
        self.set_all(&settings).await.map_err(failed)
    }

    /// An older server lacks some settings, another platform refuses some: the lock is sound without them.
    async fn set_all(&mut self, settings: &[Setting]) -> Result<(), sqlx::Error> {
        if self.set(settings).await? {
            return Ok(());
        }
        for setting in settings {
            if !self.set(std::slice::from_ref(setting)).await? {
                let (setting, value) = setting;
                tracing::debug!(setting, value, "dlock: setting refused by the server");
            }
        }
        Ok(())
    }

    /// Whether the server took them all.
    async fn set(&mut self, settings: &[Setting]) -> Result<bool, sqlx::Error> {
        match self.row(dialect::set_session(settings)).await {
            Ok(_) => Ok(true),
            Err(error) if error.as_database_error().is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
