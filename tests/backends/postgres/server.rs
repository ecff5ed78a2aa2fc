//! The server past dlock: what it says of a lock and of sessions, and names that nobody else uses.

use std::str::FromStr;
use std::time::Duration;

use dlock_tests::env;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgRow};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, PgConnection, Row};
use tokio::time::{Instant, sleep};

/// How long anything may take that has to happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn url() -> String {
    env("DLOCK_TEST_POSTGRES_URL")
}

/// A key that nobody else uses.
pub(super) fn key() -> i64 {
    fastrand::i64(..)
}

/// A name that nobody else uses, for an application, a table or a database.
pub(super) fn name() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

/// The URL with a parameter more.
pub(super) fn with(url: &str, parameter: &str, value: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameter}={value}")
}

/// An application with a name of its own: its URL, its name.
pub(super) fn application(url: &str) -> (String, String) {
    let name = name();
    (with(url, "application_name", &name), name)
}

pub(super) fn options(url: &str) -> PgConnectOptions {
    let options = PgConnectOptions::from_str(url).expect("a PostgreSQL URL");
    options.disable_statement_logging()
}

/// Who fills the small server, or must find room on it, holds this.
pub(super) static SMALL_SERVER: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// One raw session.
#[derive(Debug)]
pub(super) struct Server(PgConnection);

impl Server {
    pub(super) async fn main() -> Self {
        Self::at(&url()).await
    }

    pub(super) async fn at(url: &str) -> Self {
        let connection = options(url).connect().await;
        Self(connection.expect("the server answers"))
    }

    pub(super) async fn run(&mut self, sql: &str) {
        let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.0).await;
        result.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn row(&mut self, sql: &str) -> PgRow {
        let row = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_one(&mut self.0)
            .await;
        row.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The first column as text, whatever it is; empty for NULL.
    pub(super) async fn ask(&mut self, sql: &str) -> String {
        let row = self.row(sql).await;
        let text: Option<&str> = row.try_get_unchecked(0).expect("a value as text");
        text.unwrap_or_default().to_owned()
    }

    /// The first column of each row of a text of several statements.
    pub(super) async fn answers(&mut self, text: &str) -> Vec<String> {
        let rows = sqlx::raw_sql(AssertSqlSafe(text))
            .fetch_all(&mut self.0)
            .await;
        let rows = rows.unwrap_or_else(|error| panic!("{text}: {error}"));
        let answer = |row: &PgRow| row.try_get(0).expect("a text");
        rows.iter().map(answer).collect()
    }

    pub(super) async fn is(&mut self, condition: &str) -> bool {
        self.ask(&format!("SELECT {condition}")).await == "t"
    }

    pub(super) async fn count(&mut self, from: &str) -> i64 {
        let count = self.ask(&format!("SELECT count(*) FROM {from}")).await;
        count.parse().expect("a number")
    }

    /// Waits until a condition is true.
    pub(super) async fn until(&mut self, condition: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is(condition).await {
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {condition}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many sessions hold this key.
    pub(super) async fn holders(&mut self, key: i64) -> i64 {
        self.count(&holders(key)).await
    }

    /// Waits until so many sessions wait for this key.
    pub(super) async fn until_wanted(&mut self, key: i64, by: i64) {
        let wanted = format!("(SELECT count(*) FROM {}) = {by}", waiters(key));
        self.until(&wanted).await;
    }

    /// Waits until nobody holds this key.
    pub(super) async fn until_free(&mut self, key: i64) {
        let free = format!("NOT EXISTS (SELECT FROM {})", holders(key));
        self.until(&free).await;
    }

    /// Whether the raw session gets the lock; it gives it back.
    pub(super) async fn can_take(&mut self, key: i64) -> bool {
        let take = format!("pg_try_advisory_lock('{key}'::bigint)");
        let took = self.is(&take).await;
        if took {
            self.unlock(key).await;
        }
        took
    }

    pub(super) async fn lock(&mut self, key: i64) {
        self.run(&format!("SELECT pg_advisory_lock('{key}'::bigint)"))
            .await;
    }

    pub(super) async fn unlock(&mut self, key: i64) {
        let unlock = format!("pg_advisory_unlock('{key}'::bigint)");
        assert!(self.is(&unlock).await, "{key} was not held");
    }
}

/// A database of its own; [`drop_database`] when it is done with.
pub(super) async fn scratch_database() -> (String, String) {
    let name = name();
    let mut server = Server::main().await;
    server.run(&format!("CREATE DATABASE {name}")).await;
    let url = options(&url()).database(&name).to_url_lossy();
    (name, url.to_string())
}

/// Drops it, whoever is connected.
pub(super) async fn drop_database(name: &str) {
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    Server::main().await.run(&drop).await;
}

/// Those who hold a key, as something to select from.
pub(super) fn holders(key: i64) -> String {
    format!("{} AND granted", locks(key))
}

/// Those who wait for a key.
pub(super) fn waiters(key: i64) -> String {
    format!("{} AND NOT granted", locks(key))
}

fn locks(key: i64) -> String {
    format!(
        "pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND (classid::bigint << 32) | objid::bigint = '{key}'::bigint"
    )
}

/// The lock sessions of an application.
pub(super) fn sessions(application: &str) -> String {
    format!("pg_stat_activity WHERE application_name = '{application} dlock'")
}
