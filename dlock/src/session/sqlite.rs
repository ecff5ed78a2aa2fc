//! SQLite by sqlx. The database itself is asked one thing: where it is.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqlitePool};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection};
use sea_orm::{DbErr, RuntimeErr};

use super::local::{Files, LocalSession, Memory, Place};
use super::sqlx::{Driver, Latest};
use super::{ConnectSettings, Connector, Session};
use crate::dialect::{Dialect, sqlite as dialect};
use crate::error::{Error, Phase};

/// Finds the locks of the application's database.
pub(crate) struct SqliteConnector {
    latest: Latest<Sqlite>,
    /// Names a database that only this pool can see.
    pool: usize,
}

impl Driver for Sqlite {
    type Connector = SqliteConnector;

    fn connector(pool: &SqlitePool, _: ConnectSettings) -> SqliteConnector {
        SqliteConnector {
            latest: Latest::of(pool),
            pool: super::Application::identity(pool),
        }
    }

    fn latest(connector: &SqliteConnector) -> &Latest<Self> {
        &connector.latest
    }
}

#[async_trait]
impl Connector for SqliteConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        &dialect::Sqlite
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let options = self.latest.options();
        let place = self.place(&options).await;
        let place = place.map_err(|error| Phase::Connect.failed(error))?;
        Ok(Box::new(LocalSession::new(place)))
    }
}

impl SqliteConnector {
    async fn place(&self, options: &SqliteConnectOptions) -> Result<Arc<dyn Place>, DbErr> {
        let file = database_file(options)
            .await
            .map_err(|error| cannot_open(options, error))?;
        if !file.is_empty() {
            return Ok(Arc::new(Files::beside(Path::new(&file))?));
        }
        Ok(Arc::new(
            match options.get_filename().to_string_lossy().as_ref() {
                // Each connection to it has a database of its own. <https://www.sqlite.org/inmemorydb.html>
                "" | ":memory:" => Memory::named(&format!("{:x}", self.pool)),
                name => Memory::named(name),
            },
        ))
    }
}

/// SQLite alone knows how it reads a file name: relative, with symbolic links, as a URI.
async fn database_file(options: &SqliteConnectOptions) -> Result<String, sqlx::Error> {
    let options = options.clone().optimize_on_close(false, None);
    let mut connection = options.disable_statement_logging().connect().await?;
    let question = AssertSqlSafe(dialect::database_file());
    let file = sqlx::query_scalar(question)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(file)
}

fn cannot_open(options: &SqliteConnectOptions, error: sqlx::Error) -> DbErr {
    let file = options.get_filename().display();
    DbErr::Conn(RuntimeErr::Internal(format!(
        "SQLite database {file}: {error}"
    )))
}
