//! What a connection is opened with.

use std::str::FromStr;

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use crate::suite::Outcome;

/// A name that nobody else uses, for a lock, an account or a database.
pub(crate) fn name() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

pub(crate) fn options(url: &str) -> Outcome<MySqlConnectOptions> {
    Ok(MySqlConnectOptions::from_str(url)?.disable_statement_logging())
}

/// An application that has not connected yet.
pub(crate) fn lazy(options: MySqlConnectOptions) -> DatabaseConnection {
    MySqlPoolOptions::new().connect_lazy_with(options).into()
}

/// A pool that runs these statements on each of its fresh connections.
pub(crate) fn with_hook(hook: impl Into<String>) -> MySqlPoolOptions {
    let hook = hook.into();
    MySqlPoolOptions::new().after_connect(move |connection, _| {
        let hook = AssertSqlSafe(hook.clone());
        Box::pin(async move { connection.execute(hook).await.map(drop) })
    })
}
