//! How a PostgreSQL session is opened: like one of the application's, and refused where its locks would mean nothing.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Row};

use super::{Line, PgSession, code};
use crate::dialect::Dialect;
use crate::dialect::postgres::{self as dialect, Postgres};
use crate::error::{Error, Phase};
use crate::key::CurrentDatabase;
use crate::session::one_database::OneDatabase;
use crate::session::sqlx::open::{
    Configure, Setting, connect, db, in_time, keep_if, nobody_listens, open_alone, refused, set_all,
};
use crate::session::sqlx::pinned::{NOWHERE, PinnedSession, Slot};
use crate::session::sqlx::{Driver, Latest, for_one_session};
use crate::session::{ConnectSettings, Connector, PinnedBase, Session};

/// Opens sessions like the application's own connections: its hooks, its TLS, its password of today.
pub(crate) struct PgConnector {
    pool: PgPoolOptions,
    latest: Latest<sqlx::Postgres>,
    database: OneDatabase,
    trust_session_pooling: bool,
    /// The settings of every session, for the whole of its life.
    settings: Vec<Setting>,
    keepalive: Duration,
}

/// What ends a statement or a transaction from outside must not end a lock. Where the application works itself, it is the application's.
const LIMITS: [&str; 3] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
];

impl PgConnector {
    fn new(pool: &PgPool, settings: ConnectSettings) -> Self {
        let ConnectSettings {
            keepalive,
            trust_session_pooling,
            ..
        } = settings;
        let seconds = keepalive.as_secs().clamp(1, 3600);
        let probe = (seconds / 3).max(1);
        let settings = vec![
            ("idle_session_timeout", "0".into()),
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
            database: OneDatabase::default(),
            trust_session_pooling,
            settings,
            keepalive,
        }
    }

    /// The application's options, with a token.
    fn options(&self, token: &str) -> PgConnectOptions {
        let options = PgConnectOptions::clone(&self.latest.options());
        match self.trust_session_pooling {
            true => options,
            false => options.options([(dialect::SESSION_TOKEN, token)]),
        }
    }

    async fn open<S, Opening>(
        &self,
        open: impl Fn() -> Opening,
        options: &PgConnectOptions,
    ) -> Result<S, Error>
    where
        Opening: Future<Output = Result<S, sqlx::Error>>,
    {
        let opened = connect::<sqlx::Postgres, _, _>(open, options, is_starting, self.keepalive);
        opened.await.map_err(|error| match is_poolers(&error) {
            true => POOLER,
            false => refused(error),
        })
    }
}

fn token() -> String {
    format!("{:032x}", fastrand::u128(..))
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

    fn database(&self) -> CurrentDatabase {
        self.database.get()
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let token = token();
        let options = self.options(&token).disable_statement_logging();
        let open = || Line::open(self.pool.clone(), options.clone());
        let mut session = PgSession::on(self.open(open, &options).await?);
        let limits = LIMITS.map(|limit| (limit, "0".to_owned()));
        let checked = in_time(self.keepalive, session.check(&token, self, &limits)).await;
        let session = keep_if(checked, session).await?;
        Ok(Box::new(session))
    }

    async fn pin(&self) -> Result<PinnedBase, Error> {
        let token = token();
        let options = self.options(&token);
        let open = || open_alone(self.pool.clone(), options.clone());
        let (pool, connection) = self.open(open, &options).await?;
        let mut session = PgSession::on(Line::Lent(Slot::of(connection)));
        let checked = in_time(self.keepalive, session.check(&token, self, &[])).await;
        let session = keep_if(checked, session).await?;
        let nowhere = PgConnectOptions::new_without_pgpass().socket(NOWHERE);
        let pinned = PinnedSession::new(pool, session, nowhere);
        Ok(PinnedBase::Session(Box::new(pinned)))
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

const POOLER: Error = Error::refused(
    "a connection pooler in front of PostgreSQL",
    OWN_SESSION,
    AROUND_A_POOLER,
);

const OWN_SESSION: &str = "a PostgreSQL session of the pool's own";

const AROUND_A_POOLER: &str = "name a direct connection with `LockPool::builder(&db).sessions_from(&direct)`, \
     use `txn.dlock(key).xact()`, or, if the pooler gives each client a session of its own, `.trust_session_pooling()`";

const STANDBY: Error = Error::refused(
    "a PostgreSQL hot standby",
    "the primary",
    "connect to the primary: locks of a standby exclude no session of the primary",
);

const COCKROACH: Error = Error::refused(
    "CockroachDB, which accepts the calls and locks nothing",
    "a PostgreSQL server",
    "use a PostgreSQL server for locks",
);

impl Line {
    async fn open(pool: PgPoolOptions, options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = pool.connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        drop(pool.close());
        Ok(Self::Ours { listener, pool })
    }
}

impl PgSession {
    fn on(line: Line) -> Self {
        Self {
            line,
            can_wait: false,
            pid: 0,
        }
    }

    /// Is this a session of our own, on a server whose locks count? Then it gets its settings.
    async fn check(
        &mut self,
        token: &str,
        connector: &PgConnector,
        more: &[Setting],
    ) -> Result<(), Error> {
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
        self.pid = row.try_get(4).map_err(failed)?;
        let database: Option<String> = row.try_get(5).map_err(failed)?;
        connector.database.meet(database)?;
        let mut settings = [&connector.settings, more].concat();
        settings.push(("application_name", name));
        set_all(self, &settings).await.map_err(failed)
    }
}

impl Configure for PgSession {
    async fn set(&mut self, settings: &[Setting]) -> Result<(), sqlx::Error> {
        self.row(dialect::set_session(settings)).await.map(drop)
    }
}
