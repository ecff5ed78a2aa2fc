//! A plain connection, past dlock: what a service in another language does to a lock, and what the server says of locks and sessions.

use std::fmt::Display;

use sea_orm::sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Column, ConnectOptions, MySqlConnection, Row};

use super::options::options;
use crate::suite::{Failure, Outcome, eventually};

/// One session.
pub(crate) struct Raw(MySqlConnection);

impl Raw {
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

    pub(crate) async fn count(&mut self, from: &str) -> Outcome<usize> {
        let count = self.row(&format!("SELECT COUNT(*) FROM {from}")).await?;
        Ok(count.parse()?)
    }

    /// Until a condition is true.
    pub(crate) async fn until(&mut self, condition: &str) -> Outcome {
        let question = format!("SELECT {condition}");
        eventually(condition, async || Ok(self.row(&question).await? == "1")).await
    }

    pub(crate) async fn id(&mut self) -> Outcome<i64> {
        Ok(self.row("SELECT CONNECTION_ID()").await?.parse()?)
    }
}

/// Locks.
impl Raw {
    /// One try, as it would be from Python.
    pub(crate) async fn gets(&mut self, lock: impl Display) -> Outcome<bool> {
        let answer = self.row(&get_lock(&lock, "0")).await?;
        match &*answer {
            "1" => Ok(true),
            "0" => Ok(false),
            other => Err(Failure::new(format!("GET_LOCK of {lock}: {other}"))),
        }
    }

    /// Whether the lock was held by this session.
    pub(crate) async fn releases(&mut self, lock: impl Display) -> Outcome<bool> {
        let release = format!("SELECT RELEASE_LOCK({})", literal(lock));
        Ok(self.row(&release).await? == "1")
    }

    /// Waits for it.
    pub(crate) async fn lock(&mut self, lock: impl Display) -> Outcome {
        assert_eq!(self.row(&get_lock(&lock, "20")).await?, "1", "{lock}");
        Ok(())
    }

    pub(crate) async fn unlock(&mut self, lock: impl Display) -> Outcome {
        assert!(self.releases(&lock).await?, "{lock} was not held");
        Ok(())
    }

    /// Whether this session could have the lock; it gives it back.
    pub(crate) async fn can_lock(&mut self, lock: impl Display) -> Outcome<bool> {
        Ok(self.gets(&lock).await? && self.releases(&lock).await?)
    }

    /// The server's number for the session that holds it.
    pub(crate) async fn holder(&mut self, lock: impl Display) -> Outcome<Option<i64>> {
        let holder = format!("SELECT IS_USED_LOCK({})", literal(lock));
        Ok(self.row(&holder).await?.parse().ok())
    }

    pub(crate) async fn until_free(&mut self, lock: impl Display) -> Outcome {
        self.until(&format!("IS_FREE_LOCK({})", literal(lock)))
            .await
    }

    /// Until so many sessions wait for this lock.
    pub(crate) async fn until_wanted(&mut self, lock: impl Display, by: usize) -> Outcome {
        let lock = literal(lock);
        self.until(&format!(
            "(SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE OBJECT_TYPE = 'USER LEVEL LOCK' \
             AND LOWER(OBJECT_NAME) = LOWER({lock}) AND LOCK_STATUS = 'PENDING') = {by}"
        ))
        .await
    }
}

/// The lock sessions of an application: they have a mark.
impl Raw {
    pub(crate) async fn sessions(&mut self, application: &str) -> Outcome<Vec<String>> {
        self.sessions_that("TRUE", application).await
    }

    /// Those that wait on the server.
    async fn waiting(&mut self, application: &str) -> Outcome<Vec<String>> {
        let waits = "p.INFO LIKE 'SELECT %GET!_LOCK(%' ESCAPE '!' AND p.INFO NOT LIKE '%IF(%'";
        self.sessions_that(waits, application).await
    }

    async fn sessions_that(&mut self, are: &str, application: &str) -> Outcome<Vec<String>> {
        let sessions = lock_sessions(application);
        let ids = format!("SELECT COALESCE(GROUP_CONCAT(p.ID), '') FROM {sessions} AND {are}");
        let ids = self.row(&ids).await?;
        let ids = ids.split(',').filter(|id| !id.is_empty());
        Ok(ids.map(ToOwned::to_owned).collect())
    }

    /// Until so many wait on the server: these.
    pub(crate) async fn until_waiting(
        &mut self,
        application: &str,
        count: usize,
    ) -> Outcome<Vec<String>> {
        let mut waiting = Vec::new();
        eventually(&format!("{count} sessions wait"), async || {
            waiting = self.waiting(application).await?;
            Ok(waiting.len() == count)
        })
        .await?;
        Ok(waiting)
    }

    /// The value of a variable like `@this` in the only one.
    pub(crate) async fn variable(&mut self, application: &str, name: &str) -> Outcome<String> {
        let thread = format!("SELECT t.THREAD_ID FROM {}", lock_sessions(application));
        let variable = format!(
            "SELECT VARIABLE_VALUE FROM performance_schema.user_variables_by_thread \
             WHERE VARIABLE_NAME = '{name}' AND THREAD_ID = ({thread})"
        );
        self.row(&variable).await
    }

    /// `KILL QUERY` or `KILL CONNECTION`; whether there was such a session.
    pub(crate) async fn kill(&mut self, what: &str, session: impl Display) -> bool {
        self.run(&format!("KILL {what} {session}")).await.is_ok()
    }
}

/// With what they do, as `p`.
fn lock_sessions(application: &str) -> String {
    format!(
        "performance_schema.threads t JOIN performance_schema.user_variables_by_thread v USING (THREAD_ID) \
         JOIN information_schema.PROCESSLIST p ON p.ID = PROCESSLIST_ID \
         WHERE VARIABLE_NAME = 'dlock' AND PROCESSLIST_USER = '{application}'"
    )
}

/// As a driver of Python writes it.
pub(crate) fn get_lock(lock: impl Display, seconds: &str) -> String {
    format!("SELECT GET_LOCK({}, {seconds})", literal(lock))
}

/// Text, as part of a statement.
pub(crate) fn literal(text: impl Display) -> String {
    let text = text.to_string();
    let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{}'", escaped.replace('\0', "\\0"))
}
