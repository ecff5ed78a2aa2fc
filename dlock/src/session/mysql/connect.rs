//! How a MySQL or MariaDB session is opened: like one of the application's, and refused where its locks would mean nothing.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Row};

use super::{Line, MySqlSession, number};
use crate::dialect::Dialect;
use crate::dialect::mysql::{self as dialect, MySql, PLAIN_SERVER};
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
pub(crate) struct MySqlConnector {
    pool: MySqlPoolOptions,
    latest: Latest<sqlx::MySql>,
    /// Known with the first session.
    server: OnceLock<MySql>,
    database: OneDatabase,
    keepalive: Duration,
}

impl Driver for sqlx::MySql {
    type Connector = MySqlConnector;

    fn connector(pool: &MySqlPool, settings: ConnectSettings) -> MySqlConnector {
        MySqlConnector {
            pool: for_one_session(pool),
            latest: Latest::of(pool),
            server: OnceLock::new(),
            database: OneDatabase::default(),
            keepalive: settings.keepalive,
        }
    }

    fn latest(connector: &MySqlConnector) -> &Latest<Self> {
        &connector.latest
    }
}

#[async_trait]
impl Connector for MySqlConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        dialect::names(self.server.get().copied())
    }

    fn database(&self) -> CurrentDatabase {
        self.database.get()
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let options = (*self.latest.options()).clone().disable_statement_logging();
        let (_, connection) = self.open(&options).await?;
        let mut session = MySqlSession::on(Line::Ours(connection.detach()));
        let checked = in_time(self.keepalive, session.check(self, Limits::None)).await;
        let session = keep_if(checked, session).await?;
        Ok(Box::new(session))
    }

    async fn pin(&self) -> Result<PinnedBase, Error> {
        let (pool, connection) = self.open(&self.latest.options()).await?;
        let mut session = MySqlSession::on(Line::Lent(Slot::of(connection)));
        let checked = in_time(self.keepalive, session.check(self, Limits::Applications)).await;
        let session = keep_if(checked, session).await?;
        let nowhere = MySqlConnectOptions::new().socket(NOWHERE);
        let pinned = PinnedSession::new(pool, session, nowhere);
        Ok(PinnedBase::Session(Box::new(pinned)))
    }
}

impl MySqlConnector {
    async fn open(
        &self,
        options: &MySqlConnectOptions,
    ) -> Result<(MySqlPool, PoolConnection<sqlx::MySql>), Error> {
        let open = || open_alone(self.pool.clone(), options.clone());
        let opened = connect::<sqlx::MySql, _, _>(open, options, is_starting, self.keepalive);
        opened.await.map_err(refused)
    }
}

/// Whose limits for statements count: those of the application, where it works itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    None,
    Applications,
}

/// The server shuts down. <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>
const SHUTTING_DOWN: u16 = 1053;

fn is_starting(error: &sqlx::Error) -> bool {
    nobody_listens(error) || number(error) == Some(SHUTTING_DOWN)
}

/// Variables by which a server shows that its locks exclude nobody elsewhere; those that a server lacks do not count.
/// <https://galeracluster.com/library/documentation/mysql-wsrep-options.html#wsrep-on>,
/// <https://dev.mysql.com/doc/refman/8.4/en/group-replication-limitations.html>
static REFUSED_WHERE: [(&str, bool, Error); 4] = [
    ("wsrep_on", true, GALERA),
    (dialect::READ_ONLY, true, REPLICA),
    ("innodb_read_only", true, REPLICA),
    (
        "group_replication_single_primary_mode",
        false,
        SEVERAL_PRIMARIES,
    ),
];

const VERSION: &str = "version";

const GALERA: Error = Error::refused(
    "a node of a Galera cluster, whose `GET_LOCK` excludes no session of the other nodes",
    PLAIN_SERVER,
    "use a server that is not part of a cluster for locks",
);

const SEVERAL_PRIMARIES: Error = Error::refused(
    "a MySQL group with several primaries, whose `GET_LOCK` excludes no session of the other members",
    "a group with a single primary",
    "use a group with a single primary for locks",
);

const REPLICA: Error = Error::refused(
    "a read-only MySQL or MariaDB server, like a replica",
    "the primary",
    "connect to the primary: locks of a replica exclude no session of the primary",
);

const ANOTHER_KIND: Error = Error::refused(
    "a MariaDB server where MySQL was before, or the other way round",
    "the kind of server that the pool's first session was on",
    "connect anew, or restart the service: the two differ in lock names",
);

impl MySqlSession {
    fn on(line: Line) -> Self {
        Self {
            line,
            server: MySql::MySql,
            id: 0,
            held: HashSet::new(),
        }
    }

    /// Is this a server whose locks count, and the kind that it was? Then the session gets its settings.
    async fn check(&mut self, connector: &MySqlConnector, limits: Limits) -> Result<(), Error> {
        let failed = |error| Phase::Connect.failed(db(error));
        // First, since a hook may have chosen characters in which nothing that follows could be read.
        self.execute(dialect::NAMES.to_owned())
            .await
            .map_err(failed)?;
        let variables = self.variables().await.map_err(failed)?;
        for (variable, on, refusal) in &REFUSED_WHERE {
            let value = variables.get(*variable);
            if value.is_some_and(|value| dialect::is_on(value) == *on) {
                return Err(refusal.clone());
            }
        }
        let version = variables.get(VERSION).map_or("", String::as_str);
        self.server = MySql::of_version(version)?;
        if *connector.server.get_or_init(|| self.server) != self.server {
            return Err(ANOTHER_KIND);
        }
        let database = self.introduce().await.map_err(failed)?;
        connector.database.meet(database)?;
        self.prepare(connector.keepalive, limits)
            .await
            .map_err(failed)
    }

    async fn variables(&mut self) -> Result<HashMap<String, String>, sqlx::Error> {
        let names = REFUSED_WHERE.iter().map(|(variable, ..)| *variable);
        let query = AssertSqlSafe(dialect::variables(names.chain([VERSION])));
        let rows = sqlx::raw_sql(query).fetch_all(self.connection()).await?;
        let pair = |row: &MySqlRow| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(pair).collect()
    }

    /// Learns its own number, and tells its database.
    async fn introduce(&mut self) -> Result<Option<String>, sqlx::Error> {
        let row = self.row_at_last(dialect::session()).await?;
        self.id = row.try_get(0)?;
        row.try_get(1)
    }

    async fn prepare(&mut self, keepalive: Duration, limits: Limits) -> Result<(), sqlx::Error> {
        self.execute(dialect::mark(&program())).await?;
        // Nothing else tells the server that our host has vanished. It is long, because it also ends the sessions of a process that is stopped for a while.
        let silence = keepalive
            .as_secs()
            .saturating_mul(40)
            .clamp(60, 24 * 60 * 60);
        let statement_limit = match self.server {
            MySql::MySql => "max_execution_time",
            MySql::MariaDb => "max_statement_time",
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
        self.execute(dialect::set_session(settings)).await
    }
}

/// This program and its process, `worker[4242]`.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}[{}]", std::process::id())
}
