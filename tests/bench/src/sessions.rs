//! What the program itself asks of the servers: their versions, and whether the sessions of the last sample have ended.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use dlock_bench_child::Result;
use sea_orm::sqlx::{self, Connection, MySqlConnection, PgConnection, SqliteConnection};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::Server;

/// A server that has not answered by then is dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to each server.
pub(crate) struct Sessions {
    runtime: Runtime,
    connections: Vec<Connected>,
}

enum Connected {
    Postgres(PgConnection),
    MySql(MySqlConnection),
    Sqlite(SqliteConnection),
    Redis(redis::aio::MultiplexedConnection),
}

impl Sessions {
    /// Leaves out servers that do not answer, and returns why.
    pub(crate) fn connect(
        servers: &mut Vec<Server>,
    ) -> Result<(Self, BTreeMap<&'static str, String>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut connections = Vec::new();
        let mut dead = BTreeMap::new();
        servers.retain(|server| {
            let connected = runtime.block_on(async { timeout(PATIENCE, connect(server)).await });
            let why = match connected {
                Ok(Ok(connected)) => {
                    connections.push(connected);
                    return true;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            eprintln!("{} is left out: {why}", server.name);
            dead.insert(server.name, why);
            false
        });
        let sessions = Self {
            runtime,
            connections,
        };
        Ok((sessions, dead))
    }

    /// Of each server, in the order of the servers.
    pub(crate) fn versions(&mut self) -> Result<Vec<String>> {
        let Self {
            runtime,
            connections,
        } = self;
        let versions = connections.iter_mut();
        versions
            .map(|connected| runtime.block_on(version(connected)))
            .collect()
    }

    /// Waits until nobody else has a session on our own servers. On those of others somebody always may.
    pub(crate) fn wait_for_quiet(&mut self, servers: &[Server]) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(2);
        for (server, connected) in servers.iter().zip(&mut self.connections) {
            while server.folder.is_some()
                && Instant::now() < end
                && self.runtime.block_on(others(connected))? > 0
            {
                thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }
}

async fn connect(server: &Server) -> Result<Connected> {
    let url = &server.url;
    Ok(match server.name {
        "postgres" => Connected::Postgres(PgConnection::connect(url).await?),
        "redis" => {
            let client = redis::Client::open(url.as_str())?;
            Connected::Redis(client.get_multiplexed_async_connection().await?)
        }
        "sqlite" => Connected::Sqlite(SqliteConnection::connect(url).await?),
        _ => Connected::MySql(MySqlConnection::connect(url).await?),
    })
}

async fn version(connected: &mut Connected) -> Result<String> {
    let version: String = match connected {
        Connected::Postgres(connection) => {
            let query = sqlx::query_scalar("SELECT current_setting('server_version')");
            query.fetch_one(connection).await?
        }
        Connected::MySql(connection) => {
            sqlx::query_scalar("SELECT VERSION()")
                .fetch_one(connection)
                .await?
        }
        Connected::Sqlite(connection) => {
            let query = sqlx::query_scalar("SELECT sqlite_version()");
            query.fetch_one(connection).await?
        }
        Connected::Redis(connection) => {
            let mut info = redis::cmd("INFO");
            let text: String = info.arg("server").query_async(connection).await?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("redis_version:"));
            line.unwrap_or("of no version").to_owned()
        }
    };
    // 15.20 (Debian 15.20-0+deb12u1), 10.11.19-MariaDB-0+deb12u1
    let version = version.split([' ', '-']).next();
    Ok(version.unwrap_or_default().to_owned())
}

/// How many sessions others have.
async fn others(connected: &mut Connected) -> Result<i64> {
    Ok(match connected {
        Connected::Postgres(connection) => {
            let query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            sqlx::query_scalar(query).fetch_one(connection).await?
        }
        Connected::MySql(connection) => {
            let query = "SELECT count(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'dlock'";
            sqlx::query_scalar(query).fetch_one(connection).await?
        }
        Connected::Sqlite(_) | Connected::Redis(_) => 0,
    })
}
