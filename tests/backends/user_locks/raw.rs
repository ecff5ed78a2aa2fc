//! A plain connection, past dlock: what a service in another language does to a lock, and what the server says of locks.

use std::str::FromStr;

use dlock_tests::env;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Column, ConnectOptions, MySqlConnection, Row};

use super::Server;
use crate::suite::{Failure, Outcome, eventually};

/// A name that nobody else uses, for a lock, an account, a database or a table.
pub(crate) fn name() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

pub(crate) fn url<S: Server>() -> String {
    env(S::URL)
}

pub(crate) fn options(url: &str) -> Outcome<MySqlConnectOptions> {
    Ok(MySqlConnectOptions::from_str(url)?.disable_statement_logging())
}

/// One session.
pub(crate) struct Raw(MySqlConnection);

impl Raw {
    /// On the main server.
    pub(crate) async fn on<S: Server>() -> Outcome<Self> {
        Self::at(&url::<S>()).await
    }

    pub(crate) async fn at(url: &str) -> Outcome<Self> {
        Ok(Self(options(url)?.connect().await?))
    }

    async fn fetch(&mut self, sql: &str) -> Result<MySqlRow, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        query.fetch_one(&mut self.0).await
    }

    /// All columns as text, with a space in between.
    pub(crate) async fn row(&mut self, sql: &str) -> Outcome<String> {
        let row = self.fetch(sql).await;
        let row = row.map_err(|error| Failure::new(format!("{sql}: {error}")))?;
        let mut columns = Vec::new();
        for index in 0..row.len() {
            let text: Option<&str> = row.try_get_unchecked(index)?;
            columns.push(text.unwrap_or("NULL"));
        }
        Ok(columns.join(" "))
    }

    /// What the driver takes the first column for.
    pub(crate) async fn type_of(&mut self, sql: &str) -> Outcome<String> {
        let row = self.fetch(sql).await?;
        Ok(row.column(0).type_info().to_string())
    }

    /// The number of the error with which the server answers.
    pub(crate) async fn error(&mut self, sql: &str) -> Outcome<u16> {
        match self.fetch(sql).await {
            Err(sqlx::Error::Database(error)) => {
                Ok(error.downcast_ref::<MySqlDatabaseError>().number())
            }
            other => Err(Failure::new(format!("{sql}: {other:?}"))),
        }
    }

    pub(crate) async fn run(&mut self, sql: &str) -> Outcome {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.0).await;
        let done = done.map(drop);
        done.map_err(|error| Failure::new(format!("{sql}: {error}")))
    }

    /// Until a condition is true.
    pub(crate) async fn until(&mut self, condition: &str) -> Outcome {
        let question = format!("SELECT {condition}");
        eventually(condition, async || Ok(self.row(&question).await? == "1")).await
    }

    pub(crate) async fn id(&mut self) -> Outcome<i64> {
        Ok(self.row("SELECT CONNECTION_ID()").await?.parse()?)
    }

    /// One try, as it would be from Python.
    pub(crate) async fn gets(&mut self, lock: &str) -> Outcome<bool> {
        let answer = self.row(&get_lock(lock, "0")).await?;
        match &*answer {
            "1" => Ok(true),
            "0" => Ok(false),
            other => Err(Failure::new(format!("GET_LOCK of {lock}: {other}"))),
        }
    }

    /// Whether the lock was held by this session.
    pub(crate) async fn releases(&mut self, lock: &str) -> Outcome<bool> {
        let release = format!("SELECT RELEASE_LOCK({})", literal(lock));
        Ok(self.row(&release).await? == "1")
    }

    /// Waits for it.
    pub(crate) async fn lock(&mut self, lock: &str) -> Outcome {
        assert_eq!(self.row(&get_lock(lock, "20")).await?, "1", "{lock}");
        Ok(())
    }

    pub(crate) async fn unlock(&mut self, lock: &str) -> Outcome {
        assert!(self.releases(lock).await?, "{lock} was not held");
        Ok(())
    }

    /// Whether this session could have the lock; it gives it back.
    pub(crate) async fn can_lock(&mut self, lock: &str) -> Outcome<bool> {
        Ok(self.gets(lock).await? && self.releases(lock).await?)
    }

    /// The server's number for the session that holds it.
    pub(crate) async fn holder(&mut self, lock: &str) -> Outcome<Option<i64>> {
        let holder = format!("SELECT IS_USED_LOCK({})", literal(lock));
        Ok(self.row(&holder).await?.parse().ok())
    }

    pub(crate) async fn until_free(&mut self, lock: &str) -> Outcome {
        self.until(&format!("IS_FREE_LOCK({})", literal(lock)))
            .await
    }

    /// Until so many sessions wait for this lock.
    pub(crate) async fn until_wanted(&mut self, lock: &str, by: usize) -> Outcome {
        let lock = literal(lock);
        self.until(&format!(
            "(SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE OBJECT_TYPE = 'USER LEVEL LOCK' \
             AND LOWER(OBJECT_NAME) = LOWER({lock}) AND LOCK_STATUS = 'PENDING') = {by}"
        ))
        .await
    }
}

/// As a driver of Python writes it.
pub(crate) fn get_lock(lock: &str, seconds: &str) -> String {
    format!("SELECT GET_LOCK({}, {seconds})", literal(lock))
}

/// Text, as part of a statement.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{}'", escaped.replace('\0', "\\0"))
}
