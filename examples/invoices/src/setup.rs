//! What a service does when it starts and stops.

use std::env;
use std::io;
use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};

/// A file in the current folder.
const DEFAULT_URL: &str = "sqlite:invoices.db?mode=rwc";

/// The value of an environment variable, if it has one.
pub fn env_or(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}

/// Connects to the database in `DATABASE_URL`; without it, to the SQLite database `invoices.db` in the current folder.
///
/// # Errors
///
/// When it cannot be reached.
pub async fn connect() -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(env_or("DATABASE_URL", DEFAULT_URL));
    options.sqlx_logging(false);
    // One writes at a time; the others may wait for it for as long as a slow disk makes them.
    options.map_sqlx_sqlite_opts(|options| options.busy_timeout(Duration::from_secs(60)));
    Database::connect(options).await
}

/// Hears from now on when somebody wants the service to end, by Ctrl-C or, as service managers do, by SIGTERM; the future ends then.
///
/// # Errors
///
/// When the signals cannot be heard.
#[cfg(unix)]
pub fn asked_to_stop() -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

/// Hears from now on when somebody wants the service to end, by Ctrl-C; the future ends then.
///
/// # Errors
///
/// When that cannot be heard.
#[cfg(windows)]
pub fn asked_to_stop() -> io::Result<impl Future<Output = ()> + Send> {
    let mut interrupted = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        let _ = interrupted.recv().await;
    })
}
