//! How a PostgreSQL session is opened: like one of the application's, and refused where its locks
//! would mean nothing.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::DatabaseConnection;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Row};
use tokio::time::timeout;

use super::errors::code;
use super::identity::PAST_A_PROXY;
use super::keys::RULES;
use super::session::{PgSession, Transport};
use super::statements::{self, Identity};
use crate::backend::origin::ConnectSettings;
use crate::backend::pinned::PinnedBase;
use crate::backend::rules::LockRules;
use crate::backend::seam::Backend;
use crate::backend::session::Opened;
use crate::backend::session_error::SessionError;
use crate::backend::shared::one_database::OneDatabase;
use crate::backend::shared::one_server::{OneServer, Server, Standing};
use crate::backend::shared::probe::probe;
use crate::backend::shared::trouble::Trouble;
use crate::backend::sqlx::open::{
    Configure, Opening, Setting, in_time, keep_if, nobody_listens, open_alone, refused,
    session_error, set_all,
};
use crate::backend::sqlx::pinned::{NOWHERE, Returns, SharedSession, Slot};
use crate::backend::sqlx::{Latest, SqlxDatabase, for_one_session};
use crate::error::Error;
use crate::key::CurrentDatabase;
use crate::key::PhysicalKey;

/// Opens sessions like the application's own connections: its hooks, its TLS, its password of
/// today.
pub(crate) struct PgBackend {
    pool: PgPoolOptions,
    latest: Latest<sqlx::Postgres>,
    database: OneDatabase,
    servers: OneServer,
    trust_session_pooling: bool,
    /// The settings of every session, for the whole of its life.
    settings: Vec<Setting>,
    keepalive: Duration,
    trouble: Trouble,
}

/// What ends a statement or a transaction from outside must not end a lock. Where the application
/// works itself, it is the application's.
const LIMITS: [&str; 4] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
];

impl PgBackend {
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
            // What tells the server that this process is gone: killed while it waits, or its host
            // cut off.
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
            servers: OneServer::default(),
            trust_session_pooling,
            settings,
            keepalive,
            trouble: Trouble::default(),
        }
    }

    /// The application's options, with start-up options that show where they arrive.
    fn options(&self, token: &str) -> PgConnectOptions {
        let options = PgConnectOptions::clone(&self.latest.options());
        match self.trust_session_pooling {
            true => options,
            false => {
                options.options([(statements::SESSION_TOKEN, token), statements::ORIGIN_PROBE])
            }
        }
    }

    async fn open<S, Opened>(
        &self,
        open: impl Fn() -> Opened,
        options: &PgConnectOptions,
    ) -> Result<S, SessionError>
    where
        Opened: Future<Output = Result<S, sqlx::Error>>,
    {
        let opening = Opening::<sqlx::Postgres> {
            options,
            is_starting,
            limit: self.keepalive,
            acquire_timeout: self.pool.get_acquire_timeout(),
            trouble: &self.trouble,
        };
        match opening.connect(open).await {
            Ok(opened) => Ok(opened),
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// A proxy may refuse our start-up options, in words of its own: then it accepts a connection
    /// without them.
    async fn explained(&self, error: sqlx::Error) -> SessionError {
        if self.trust_session_pooling || !may_be_of_options(&error) {
            return refused(error);
        }
        let plain = PgConnectOptions::clone(&self.latest.options()).disable_statement_logging();
        match timeout(self.keepalive, plain.connect()).await {
            Ok(Ok(connection)) => {
                drop(timeout(self.keepalive, connection.close()).await);
                SessionError::Refused(refuses_options(&error))
            }
            Ok(Err(_)) | Err(_) => refused(error),
        }
    }
}

/// Whether the server's refusal may be one of start-up options. Not of these classes: invalid
/// authorization, invalid catalog name, insufficient resources, operator intervention.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn may_be_of_options(error: &sqlx::Error) -> bool {
    const OTHERS: [&str; 4] = ["28", "3D", "53", "57"];
    code(error).is_some_and(|code| !OTHERS.iter().any(|class| code.starts_with(class)))
}

fn refuses_options(error: &sqlx::Error) -> Error {
    let said = error
        .as_database_error()
        .map_or_else(String::new, |error| format!(": {}", error.message()));
    Error::Refused {
        found: Cow::Owned(format!(
            "a connection pooler in front of PostgreSQL, which refuses start-up options{said}"
        )),
        expected: Cow::Borrowed(OWN_SESSION),
        way_out: AROUND_A_POOLER,
    }
}

/// Of a probe lock.
fn random_key() -> PhysicalKey {
    PhysicalKey::Int(fastrand::i64(..))
}

/// 128 bits, in hexadecimal.
fn random_token() -> String {
    format!("{:032x}", fastrand::u128(..))
}

impl SqlxDatabase for sqlx::Postgres {
    type Backend = PgBackend;

    fn backend(pool: &PgPool, settings: ConnectSettings) -> PgBackend {
        PgBackend::new(pool, settings)
    }

    fn latest(backend: &PgBackend) -> &Latest<Self> {
        &backend.latest
    }

    fn orm(pool: PgPool) -> DatabaseConnection {
        pool.into()
    }
}

#[async_trait]
impl Backend for PgBackend {
    fn rules(&self) -> &'static LockRules {
        &RULES
    }

    fn database(&self) -> CurrentDatabase {
        self.database.get()
    }

    fn trouble(&self) -> Option<Error> {
        self.trouble.get()
    }

    async fn connect(&self) -> Result<Opened, SessionError> {
        let token = random_token();
        let options = self.options(&token).disable_statement_logging();
        let open = || Transport::open(self.pool.clone(), options.clone());
        let mut session = PgSession::on(self.open(open, &options).await?);
        let limits = LIMITS.map(|limit| (limit, "0".to_owned()));
        let checked = in_time(self.keepalive, session.check(&token, self, &limits)).await;
        let session = keep_if(checked, session).await?;
        Ok(session.into())
    }

    fn is_disputed(&self) -> bool {
        self.servers.is_disputed()
    }

    fn exclusion_probe(&self) -> Option<PhysicalKey> {
        (!self.servers.excludes()).then(random_key)
    }

    fn set_excludes(&self) {
        self.servers.set_excludes();
    }

    fn refuse_for_good(&self, error: &Error) {
        self.servers.refuse_for_good(error);
    }

    async fn open_pinned(&self) -> Result<PinnedBase, SessionError> {
        let token = random_token();
        let options = self.options(&token);
        let returns = Returns::default();
        let open = || open_alone(returns.watch(self.pool.clone()), options.clone());
        let (pool, connection) = self.open(open, &options).await?;
        let mut session = PgSession::on(Transport::Pinned(Slot::of(connection)));
        let checked = in_time(self.keepalive, session.check(&token, self, &[])).await;
        let session = keep_if(checked, session).await?;
        let nowhere = PgConnectOptions::new_without_pgpass().socket(NOWHERE);
        let pinned = SharedSession::new(pool, session, returns, nowhere);
        Ok(PinnedBase::Session(Box::new(pinned)))
    }
}

/// The server starts or stops. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const CANNOT_CONNECT_NOW: &str = "57P03";

fn is_starting(error: &sqlx::Error) -> bool {
    nobody_listens(error) || code(error) == Some(CANNOT_CONNECT_NOW)
}

const POOLER: Error = Error::refused(
    "a connection pooler in front of PostgreSQL: start-up options do not reach the server session",
    OWN_SESSION,
    AROUND_A_POOLER,
);

const SHARED: Error = Error::refused(
    "a PostgreSQL session with the stamp of another lock session: a pooler shares it, or passes it on without a reset",
    OWN_SESSION,
    PAST_A_PROXY,
);

const NO_LOCKS: Error = Error::refused(
    "a server that grants advisory locks and does not hold them",
    "a PostgreSQL server that lists a lock that it has granted in pg_locks",
    "use a PostgreSQL server for locks",
);

/// Its advisory locks do nothing before version 2025.1, or are an error.
/// <https://docs.yugabyte.com/stable/explore/transactions/explicit-locking/>
const YUGABYTE: Error = Error::refused(
    "YugabyteDB",
    "a PostgreSQL server",
    "use a PostgreSQL server for locks",
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

impl Transport {
    async fn open(pool: PgPoolOptions, options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = pool.connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        drop(pool.close());
        Ok(Self::Owned { listener, pool })
    }
}

impl PgSession {
    fn on(transport: Transport) -> Self {
        Self {
            transport,
            can_wait: false,
            identity: Identity::default(),
            standing: Standing::default(),
        }
    }

    /// Whether this is a session of our own, on a server whose locks exclude others. Then it gets
    /// its stamp and its settings, and every later statement proves it.
    async fn check(
        &mut self,
        token: &str,
        backend: &PgBackend,
        more: &[Setting],
    ) -> Result<(), SessionError> {
        let row = self
            .row(statements::version())
            .await
            .map_err(session_error)?;
        let version: String = row.try_get(0).map_err(session_error)?;
        if version.contains("CockroachDB") {
            return Err(SessionError::Refused(COCKROACH));
        }
        if version.contains("-YB-") {
            return Err(SessionError::Refused(YUGABYTE));
        }
        let stamp_token = random_token();
        let introduction = statements::introduce(&stamp_token);
        let row = self.row(introduction).await.map_err(session_error)?;
        let found: Option<String> = row.try_get(2).map_err(session_error)?;
        let origin: Option<String> = row.try_get(3).map_err(session_error)?;
        let arrived =
            found.as_deref() == Some(token) && origin.as_deref() == Some(statements::FROM_CLIENT);
        if !arrived && !backend.trust_session_pooling {
            return Err(SessionError::Refused(POOLER));
        }
        let stamp_before: Option<String> = row.try_get(0).map_err(session_error)?;
        if stamp_before.is_some_and(|stamp| !stamp.is_empty()) {
            return Err(SessionError::Refused(SHARED));
        }
        if row.try_get(4).map_err(session_error)? {
            return Err(SessionError::Refused(STANDBY));
        }
        self.can_wait = row.try_get(5).map_err(session_error)?;
        let application: Option<String> = row.try_get(6).map_err(session_error)?;
        let name = session_name(application.as_deref().unwrap_or_default());
        let pid = row.try_get(7).map_err(session_error)?;
        let server_start = row.try_get(8).map_err(session_error)?;
        let identity = Identity::new(&stamp_token, pid, server_start);
        let started: String = row.try_get(9).map_err(session_error)?;
        let server = Server::new(
            identity.server_start.to_string(),
            format!("the PostgreSQL server started at {started}"),
        );
        self.standing = Standing::of(backend.servers.join(&server)?);
        self.identity = identity;
        let database: Option<String> = row.try_get(10).map_err(session_error)?;
        backend.database.meet(database)?;
        // Nothing is set on a session that a pooler shares.
        self.prove().await?;
        let mut settings = [&backend.settings, more].concat();
        settings.push(("application_name", name));
        set_all(self, &settings).await.map_err(session_error)?;
        if !backend.servers.locks(&server) {
            probe(self, random_key(), NO_LOCKS).await?;
            backend.servers.set_locks(&server);
        }
        Ok(())
    }
}

/// The application's name with ` dlock`. The server cuts names after 63 bytes.
/// <https://www.postgresql.org/docs/current/runtime-config-logging.html#GUC-APPLICATION-NAME>
fn session_name(application: &str) -> String {
    const LONGEST: usize = 63;
    const SUFFIX: &str = "dlock";
    let room = LONGEST - SUFFIX.len() - 1;
    match &application[..application.floor_char_boundary(room)] {
        "" => SUFFIX.to_owned(),
        application => format!("{application} {SUFFIX}"),
    }
}

impl Configure for PgSession {
    async fn set(&mut self, settings: &[Setting]) -> Result<(), sqlx::Error> {
        self.row(statements::set_session(settings)).await.map(drop)
    }
}
