//! How a MySQL or MariaDB session is opened: like one of the application's, and refused where its
//! locks would mean nothing.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Row};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

use super::identity::{self, Identity, ReadOnly, ServerName};
use super::keys;
use super::misdirected::{AROUND_A_PROXY, misdirected};
use super::session::{MySqlSession, Transport, number};
use super::statements;
use super::variables::{
    ADDRESS, GROUP_NAME, REFUSED_WHERE, VERSION, is_in_group, server, server_name,
};
use crate::backend::origin::ConnectSettings;
use crate::backend::pinned::PinnedBase;
use crate::backend::rules::LockRules;
use crate::backend::seam::Backend;
use crate::backend::session::Opened;
use crate::backend::session_error::SessionError;
use crate::backend::shared::one_database::OneDatabase;
use crate::backend::shared::one_server::{OneServer, Standing};
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
pub(crate) struct MySqlBackend {
    pool: MySqlPoolOptions,
    latest: Latest<sqlx::MySql>,
    /// Known with the first session.
    server: OnceLock<keys::ServerKind>,
    database: OneDatabase,
    servers: OneServer,
    /// A server without a name of its own is known by its address, which two may share.
    is_nameless: AtomicBool,
    keepalive: Duration,
    trouble: Trouble,
}

impl SqlxDatabase for sqlx::MySql {
    type Backend = MySqlBackend;

    fn backend(pool: &MySqlPool, settings: ConnectSettings) -> MySqlBackend {
        MySqlBackend {
            pool: for_one_session(pool),
            latest: Latest::of(pool),
            server: OnceLock::new(),
            database: OneDatabase::default(),
            servers: OneServer::default(),
            is_nameless: AtomicBool::new(false),
            keepalive: settings.keepalive,
            trouble: Trouble::default(),
        }
    }

    fn latest(backend: &MySqlBackend) -> &Latest<Self> {
        &backend.latest
    }

    fn orm(pool: MySqlPool) -> DatabaseConnection {
        pool.into()
    }
}

#[async_trait]
impl Backend for MySqlBackend {
    fn rules(&self) -> &'static LockRules {
        keys::rules(self.server.get().copied())
    }

    fn database(&self) -> CurrentDatabase {
        self.database.get()
    }

    fn trouble(&self) -> Option<Error> {
        self.trouble.get()
    }

    async fn connect(&self) -> Result<Opened, SessionError> {
        let options = (*self.latest.options())
            .clone()
            .statement_cache_capacity(STATEMENT_CACHE_CAPACITY)
            .disable_statement_logging();
        let (_, connection) = self.open(&self.pool, &options).await?;
        let mut session = MySqlSession::on(Transport::Owned(connection.detach()));
        let checked = in_time(self.keepalive, session.check(self, Limits::None)).await;
        let session = keep_if(checked, session).await?;
        Ok(session.into())
    }

    fn is_disputed(&self) -> bool {
        self.servers.is_disputed()
    }

    fn exclusion_probe(&self) -> Option<PhysicalKey> {
        let is_known = self.servers.excludes() && !self.is_nameless.load(Ordering::Relaxed);
        (!is_known).then(random_key)
    }

    fn set_excludes(&self) {
        self.servers.set_excludes();
    }

    fn refuse_for_good(&self, error: &Error) {
        self.servers.refuse_for_good(error);
    }

    async fn open_pinned(&self) -> Result<PinnedBase, SessionError> {
        let returns = Returns::default();
        let watched = returns.watch(self.pool.clone());
        let (pool, connection) = self.open(&watched, &self.latest.options()).await?;
        let mut session = MySqlSession::on(Transport::Pinned(Slot::of(connection)));
        let checked = in_time(self.keepalive, session.check(self, Limits::Applications)).await;
        let session = keep_if(checked, session).await?;
        let nowhere = MySqlConnectOptions::new().socket(NOWHERE);
        let pinned = SharedSession::new(pool, session, returns, nowhere);
        Ok(PinnedBase::Session(Box::new(pinned)))
    }
}

/// A lock session uses few statements, again and again. With a small capacity of the application,
/// each use would be prepared and closed, which a delayed TCP acknowledgement makes 40 ms longer.
const STATEMENT_CACHE_CAPACITY: usize = 100;

/// Of a probe lock.
fn random_key() -> PhysicalKey {
    PhysicalKey::Name(format!("dlock probe {:032x}", fastrand::u128(..)).into())
}

impl MySqlBackend {
    async fn open(
        &self,
        pool: &MySqlPoolOptions,
        options: &MySqlConnectOptions,
    ) -> Result<(MySqlPool, PoolConnection<sqlx::MySql>), SessionError> {
        let open = || open_alone(pool.clone(), options.clone());
        let opening = Opening::<sqlx::MySql> {
            options,
            is_starting,
            limit: self.keepalive,
            acquire_timeout: pool.get_acquire_timeout(),
            trouble: &self.trouble,
        };
        opening.connect(open).await.map_err(refused)
    }
}

/// Whose limits for statements count: those of the application, where it works itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    None,
    Applications,
}

/// The server shuts down.
/// <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>
const SHUTTING_DOWN: u16 = 1053;

fn is_starting(error: &sqlx::Error) -> bool {
    nobody_listens(error) || number(error) == Some(SHUTTING_DOWN)
}

const OWN_SESSION: &str = "a server session of the pool's own";

const SHARED: Error = Error::refused(
    "a server session with the stamp of another lock session: a proxy shares it, or passes it on without a reset",
    OWN_SESSION,
    AROUND_A_PROXY,
);

const NO_LOCKS: Error = Error::refused(
    "a server that grants user-level locks and does not hold them",
    "a MySQL or MariaDB server whose `IS_USED_LOCK` reports a lock that it has granted",
    AROUND_A_PROXY,
);

/// MySQL Router does so on a port that splits reads and writes (error 4501).
fn refuses_stamp(error: &sqlx::Error) -> Error {
    Error::Refused {
        found: Cow::Owned(format!(
            "a proxy that refuses to put a stamp on the session: {error}"
        )),
        expected: Cow::Borrowed(OWN_SESSION),
        way_out: AROUND_A_PROXY,
    }
}

/// The answer of Vitess to a lock inside of an expression: it supports none.
const NOT_SUPPORTED: u16 = 1235;

fn vitess_by_answer(error: SessionError) -> SessionError {
    match &error {
        SessionError::Statement(DbErr::Query(RuntimeErr::SqlxError(source)))
            if number(source) == Some(NOT_SUPPORTED) =>
        {
            SessionError::Refused(keys::VITESS)
        }
        _ => error,
    }
}

const ANOTHER_KIND: Error = Error::refused(
    "a MariaDB server where MySQL was before, or the other way round",
    "the kind of server that the pool's first session was on",
    "connect anew, or restart the service: the two differ in lock names",
);

impl MySqlSession {
    fn on(transport: Transport) -> Self {
        Self {
            transport,
            server: keys::ServerKind::MySql,
            identity: Identity::default(),
            standing: Standing::default(),
            group: None,
            held: HashSet::new(),
        }
    }

    /// Whether this is a session of our own, on a server whose locks exclude others, and of the
    /// kind that it was. Then it gets its stamp and its settings, and every later statement proves
    /// it.
    async fn check(&mut self, backend: &MySqlBackend, limits: Limits) -> Result<(), SessionError> {
        // First, since a hook may have chosen characters in which nothing that follows could be
        // read.
        self.execute(statements::NAMES.to_owned())
            .await
            .map_err(session_error)?;
        let variables = self.variables().await.map_err(session_error)?;
        for (variable, on, refusal) in &REFUSED_WHERE {
            let value = variables.get(*variable);
            if value.is_some_and(|value| statements::is_on(value) == *on) {
                return Err(SessionError::Refused(refusal.clone()));
            }
        }
        let version = variables.get(VERSION).map_or("", String::as_str);
        self.server = keys::ServerKind::of_version(version)?;
        if is_in_group(&variables) {
            let refusal = self.meet_group().await.map_err(session_error)?;
            if let Some(refusal) = refusal {
                return Err(SessionError::Refused(refusal));
            }
        }
        let name = server_name(&variables);
        backend.is_nameless.store(name.is_none(), Ordering::Relaxed);
        let server = server(name.as_ref(), &variables);
        self.standing = Standing::of(backend.servers.join(&server)?);
        if *backend.server.get_or_init(|| self.server) != self.server {
            return Err(SessionError::Refused(ANOTHER_KIND));
        }
        let row = self.row_at_last(identity::INTRODUCE.to_owned()).await;
        let row = row.map_err(session_error)?;
        let stamp_before: Option<u64> = row.try_get(0).map_err(session_error)?;
        if stamp_before.is_some() {
            return Err(SessionError::Refused(SHARED));
        }
        let unstamped = Identity {
            stamp: 0,
            session: row.try_get(1).map_err(session_error)?,
            server: name,
            read_only: match row.try_get(3).map_err(session_error)? {
                true => ReadOnly::Number,
                false => ReadOnly::Word,
            },
        };
        backend
            .database
            .meet(row.try_get(2).map_err(session_error)?)?;
        self.put_stamp(unstamped).await?;
        let prepared = self.prepare(backend.keepalive, limits).await;
        prepared.map_err(session_error)?;
        if !backend.servers.locks(&server) {
            let probed = probe(self, random_key(), NO_LOCKS).await;
            probed.map_err(vitess_by_answer)?;
            backend.servers.set_locks(&server);
        }
        Ok(())
    }

    async fn variables(&mut self) -> Result<HashMap<String, String>, sqlx::Error> {
        let refused = REFUSED_WHERE.iter().map(|(variable, ..)| *variable);
        let names = refused
            .chain(ServerName::VARIABLES)
            .chain(ADDRESS)
            .chain([GROUP_NAME]);
        let query = AssertSqlSafe(statements::variables(names.chain([VERSION])));
        let rows = sqlx::raw_sql(query).fetch_all(self.connection()).await?;
        let pair = |row: &MySqlRow| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(pair).collect()
    }

    /// The session that is asked for its stamp has to be the one that was met before.
    async fn put_stamp(&mut self, unstamped: Identity) -> Result<(), SessionError> {
        let Identity {
            session,
            server,
            read_only,
            ..
        } = unstamped;
        let mark = statements::mark(fastrand::u64(..), server.as_ref(), &program());
        match self.execute(mark).await {
            Err(error) if error.as_database_error().is_some() => {
                return Err(SessionError::Refused(refuses_stamp(&error)));
            }
            done => done.map_err(session_error)?,
        }
        let who_answers = identity::who_answers(server.as_ref());
        let row = self.row_at_last(who_answers).await.map_err(session_error)?;
        let stamp: Option<u64> = row.try_get(0).map_err(session_error)?;
        let found = Identity {
            stamp: stamp.unwrap_or_default(),
            session: row.try_get(1).map_err(session_error)?,
            server: server.clone(),
            read_only,
        };
        let server_found: Option<String> = row.try_get(3).map_err(session_error)?;
        let is_same_server = server_found == server.map(|server| server.value);
        if stamp.is_none() || found.session != session || !is_same_server {
            let expected = Identity { session, ..found };
            return Err(misdirected(&expected, &row).map_err(session_error)?);
        }
        self.identity = found;
        Ok(())
    }

    async fn prepare(&mut self, keepalive: Duration, limits: Limits) -> Result<(), sqlx::Error> {
        // Nothing else tells the server that our host has vanished. It is long, because it also
        // ends the sessions of a process that is stopped for a while.
        let silence = keepalive
            .as_secs()
            .saturating_mul(40)
            .clamp(60, 24 * 60 * 60);
        let statement_limit = match self.server {
            keys::ServerKind::MySql => "max_execution_time",
            keys::ServerKind::MariaDb => "max_statement_time",
        };
        let mut settings = vec![("wait_timeout", silence.to_string())];
        if limits == Limits::None {
            settings.extend([("autocommit", "1".into()), (statement_limit, "0".into())]);
        }
        set_all(self, &settings).await
    }

    pub(super) async fn execute(&mut self, sql: String) -> Result<(), sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        query.execute(self.connection()).await.map(drop)
    }
}

impl Configure for MySqlSession {
    async fn set(&mut self, settings: &[Setting]) -> Result<(), sqlx::Error> {
        self.execute(statements::set_session(settings)).await
    }
}

/// This program and its process, `worker[4242]`.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}[{}]", std::process::id())
}
