//! How a PostgreSQL session is opened: like one of the application's, and refused where its locks would mean nothing.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Row};

use super::{PgSession, code};
use crate::dialect::Dialect;
use crate::dialect::postgres::{self as dialect, Postgres};
use crate::error::{Error, Phase};
use crate::session::sqlx::open::{
    Configure, Setting, connect, db, for_one_session, in_time, keep_if, nobody_listens, refused,
    set_all,
};
use crate::session::sqlx::{Driver, Latest};
use crate::session::{ConnectSettings, Connector, Session};

/// Opens sessions like the application's own connections: its hooks, its TLS, its password of today.
pub(crate) struct PgConnector {
    pool: PgPoolOptions,
    latest: Latest<sqlx::Postgres>,
    trust_session_pooling: bool,
    /// The settings of a lock session, for the whole of its life.
    settings: Vec<Setting>,
    keepalive: Duration,
}

impl PgConnector {
    fn new(pool: &PgPool, settings: ConnectSettings) -> Self {
        let ConnectSettings {
            keepalive,
            trust_session_pooling,
        } = settings;
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
            pool: for_one_session(pool),
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
        let open = || PgSession::open(self.pool.clone(), options.clone());
        let opened = connect::<sqlx::Postgres, _, _>(open, &options, is_starting, self.keepalive);
        let mut session = opened.await.map_err(|error| match is_poolers(&error) {
            true => POOLER,
            false => refused(error),
        })?;
        let checked = in_time(self.keepalive, session.check(&token, self)).await;
        keep_if(checked, session).await
    }
}

/// The server starts or stops. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const CANNOT_CONNECT_NOW: &str = "57P03";

fn is_starting(error: &sqlx::Error) -> bool {
    nobody_listens(error) || code(error) == Some(CANNOT_CONNECT_NOW)
}

/// A proxy that knows no start-up option of ours says so in words.
fn is_poolers(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        let message = error.message();
        message.contains("startup parameter") || message.contains(dialect::SESSION_TOKEN)
    })
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
        set_all(self, &settings).await.map_err(failed)
    }
}

impl Configure for PgSession {
    async fn set(&mut self, settings: &[Setting]) -> Result<(), sqlx::Error> {
        self.row(dialect::set_session(settings)).await.map(drop)
    }
}
