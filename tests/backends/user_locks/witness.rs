//! The server past dlock: one raw session that looks at others, takes locks and ends sessions.

use std::str::FromStr;

use dlock_tests::env;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlRow};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Executor, MySqlConnection, Row};

use super::Server;
use crate::suite::{Outcome, eventually};

pub(crate) fn options(url: &str) -> Outcome<MySqlConnectOptions> {
    Ok(MySqlConnectOptions::from_str(url)?.disable_statement_logging())
}

/// A pool that runs these statements on each of its fresh connections.
pub(crate) fn with_hook(hook: String) -> MySqlPoolOptions {
    MySqlPoolOptions::new().after_connect(move |connection, _| {
        let hook = AssertSqlSafe(hook.clone());
        Box::pin(async move { connection.execute(hook).await.map(drop) })
    })
}

/// The lock sessions of an application and what they do.
fn lock_sessions(application: &str) -> String {
    format!(
        "performance_schema.threads t JOIN performance_schema.user_variables_by_thread v USING (THREAD_ID) \
         JOIN information_schema.PROCESSLIST p ON p.ID = PROCESSLIST_ID \
         WHERE VARIABLE_NAME = 'dlock' AND PROCESSLIST_USER = '{application}'"
    )
}

pub(crate) struct Witness(MySqlConnection);

impl Witness {
    pub(crate) async fn of<S: Server>() -> Outcome<Self> {
        Ok(Self(options(&env(S::URL))?.connect().await?))
    }

    pub(crate) async fn run(&mut self, sql: &str) -> Outcome {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.0)
            .await?;
        Ok(())
    }

    async fn rows(&mut self, sql: &str) -> Outcome<Vec<MySqlRow>> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        Ok(query.fetch_all(&mut self.0).await?)
    }

    /// The first column as text, whatever it is; empty for NULL and for no row.
    pub(crate) async fn ask(&mut self, sql: &str) -> Outcome<String> {
        let rows = self.rows(sql).await?;
        let text = rows.first().map(|row| row.try_get_unchecked(0));
        let text: Option<Vec<u8>> = text.transpose()?.flatten();
        Ok(String::from_utf8(text.unwrap_or_default())?)
    }

    pub(crate) async fn count(&mut self, from: &str) -> Outcome<usize> {
        let count = self.ask(&format!("SELECT COUNT(*) FROM {from}")).await?;
        Ok(count.parse()?)
    }

    /// Takes it, if nobody has it.
    pub(crate) async fn lock(&mut self, key: i64) -> Outcome<bool> {
        let lock = format!("SELECT GET_LOCK('{key}', 0)");
        Ok(self.ask(&lock).await? == "1")
    }

    pub(crate) async fn unlock(&mut self, key: i64) -> Outcome {
        let unlock = format!("SELECT RELEASE_LOCK('{key}')");
        assert_eq!(self.ask(&unlock).await?, "1", "{key} was not held");
        Ok(())
    }

    /// The value of a variable like `@this` in the only lock session of an application.
    pub(crate) async fn variable(&mut self, application: &str, name: &str) -> Outcome<String> {
        let thread = format!("SELECT t.THREAD_ID FROM {}", lock_sessions(application));
        let variable = format!(
            "SELECT VARIABLE_VALUE FROM performance_schema.user_variables_by_thread \
             WHERE VARIABLE_NAME = '{name}' AND THREAD_ID = ({thread})"
        );
        self.ask(&variable).await
    }

    async fn ids(&mut self, application: &str, that: &str) -> Outcome<Vec<String>> {
        let sessions = lock_sessions(application);
        let ids = format!("SELECT CAST(p.ID AS CHAR) FROM {sessions} AND {that}");
        let rows = self.rows(&ids).await?;
        let ids: Result<_, _> = rows.iter().map(|row| row.try_get_unchecked(0)).collect();
        Ok(ids?)
    }

    /// The lock sessions of an application.
    pub(crate) async fn sessions(&mut self, application: &str) -> Outcome<Vec<String>> {
        self.ids(application, "TRUE").await
    }

    /// Those that wait on the server.
    pub(crate) async fn waiting(&mut self, application: &str) -> Outcome<Vec<String>> {
        self.ids(application, "p.INFO LIKE 'SELECT GET!_LOCK(%' ESCAPE '!'")
            .await
    }

    /// Until so many wait on the server.
    pub(crate) async fn until_waiting(&mut self, application: &str, count: usize) -> Outcome {
        eventually(&format!("{count} sessions wait"), async || {
            Ok(self.waiting(application).await?.len() == count)
        })
        .await
    }

    /// `KILL QUERY` or `KILL CONNECTION`; whether there was such a session.
    pub(crate) async fn kill(&mut self, what: &str, session: &str) -> bool {
        self.run(&format!("KILL {what} {session}")).await.is_ok()
    }
}
