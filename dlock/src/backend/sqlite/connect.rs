//! SQLite by sqlx. The database itself is asked one thing: where it is.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use sea_orm::sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Row};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

use super::files::Files;
use super::keys::RULES;
use super::statements;
use crate::backend::inline::{LocalSession, Memory, Place};
use crate::backend::origin::ConnectSettings;
use crate::backend::pinned::PinnedBase;
use crate::backend::rules::LockRules;
use crate::backend::seam::Backend;
use crate::backend::session::Opened;
use crate::backend::session_error::SessionError;
use crate::backend::sqlx::{Latest, SqlxDatabase, for_one_session};
use crate::error::{Error, Phase};
use crate::key::CurrentDatabase;

/// Finds the locks of the application's database.
pub(crate) struct SqliteBackend {
    /// For connections that are pinned.
    pool: SqlitePoolOptions,
    latest: Latest<Sqlite>,
    /// For a database that only this pool can see.
    private: Memory,
}

impl SqlxDatabase for Sqlite {
    type Backend = SqliteBackend;

    fn backend(pool: &SqlitePool, _: ConnectSettings) -> SqliteBackend {
        SqliteBackend {
            pool: for_one_session(pool),
            latest: Latest::of(pool),
            private: Memory::private(pool),
        }
    }

    fn latest(backend: &SqliteBackend) -> &Latest<Self> {
        &backend.latest
    }

    fn orm(pool: SqlitePool) -> DatabaseConnection {
        pool.into()
    }
}

#[async_trait]
impl Backend for SqliteBackend {
    fn rules(&self) -> &'static LockRules {
        &RULES
    }

    fn database(&self) -> CurrentDatabase {
        CurrentDatabase::Named("main".into())
    }

    async fn connect(&self) -> Result<Opened, SessionError> {
        let place = self.place(&self.latest.options()).await?;
        Ok(Opened::Inline(Arc::new(LocalSession::new(place))))
    }

    async fn open_pinned(&self) -> Result<PinnedBase, SessionError> {
        let options = self.latest.options();
        if has_no_other_connection(&options) {
            return Err(SessionError::Refused(ALONE));
        }
        let opened = self.pool.clone().connect_with((*options).clone()).await;
        let pool = opened.map_err(|error| SessionError::Ended(unreachable(&options, &error)))?;
        Ok(PinnedBase::Sidecar {
            connection: pool.into(),
            is_private: true,
        })
    }
}

/// Each connection to it has a database of its own. <https://www.sqlite.org/inmemorydb.html>
fn has_no_other_connection(options: &SqliteConnectOptions) -> bool {
    matches!(&*options.get_filename().to_string_lossy(), "" | ":memory:") && !is_in_memory(options)
}

const ALONE: Error = Error::Unsupported {
    backend: "a SQLite database that only one connection can see",
    feature: "pinned locks, which need a connection of their own",
    hint: "use `db.dlock(key).run(..)` or `.transaction(..)`, or a database in a file or with `cache=shared`",
};

impl SqliteBackend {
    async fn place(&self, options: &SqliteConnectOptions) -> Result<Arc<dyn Place>, Error> {
        let name = options.get_filename().to_string_lossy();
        if is_in_memory(options) {
            return Ok(Arc::new(Memory::named(&path(&name))));
        }
        let file = database_file(options).await;
        let file = file.map_err(|error| Phase::Connect.failed(error))?;
        if !file.is_empty() {
            return Ok(Arc::new(Files::beside(Path::new(&file))?));
        }
        Ok(Arc::new(match has_no_other_connection(options) {
            true => self.private.clone(),
            false => Memory::named(&path(&name)),
        }))
    }
}

/// Whether SQLite is told so. It is not asked: a connection to such a database fails while another
/// connection changes its tables.
fn is_in_memory(options: &SqliteConnectOptions) -> bool {
    // Any name will do; sqlx panics over some.
    let url = options.clone().filename("any").to_url_lossy();
    let by_option = url.query().is_some_and(says_memory);
    let name = options.get_filename().to_string_lossy();
    let by_name = name
        .strip_prefix("file:")
        .and_then(|uri| uri.split_once('?'));
    by_option || by_name.is_some_and(|(_, query)| says_memory(query))
}

fn says_memory(query: &str) -> bool {
    query.split('&').any(|parameter| parameter == "mode=memory")
}

/// Where the database is, empty if in memory. SQLite alone knows how it reads a file name:
/// relative, with symbolic links, as a URI.
async fn database_file(options: &SqliteConnectOptions) -> Result<String, DbErr> {
    let ask = async {
        let mut connection = plain(options)?.connect().await?;
        let main = sqlx::query(statements::DATABASE_LIST)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        main.try_get(statements::FILE)
    };
    ask.await.map_err(|error| unreachable(options, &error))
}

/// The same database without what the application sets on its connections: some of its PRAGMAs wait
/// for a database that is locked, and to be asked for its path it need not be free.
fn plain(options: &SqliteConnectOptions) -> Result<SqliteConnectOptions, sqlx::Error> {
    // A URL has no PRAGMAs. sqlx panics over some names in it.
    let url = options.clone().filename("any").to_url_lossy();
    let plain = SqliteConnectOptions::from_url(&url)?.filename(options.get_filename());
    Ok(plain.disable_statement_logging())
}

fn unreachable(options: &SqliteConnectOptions, error: &sqlx::Error) -> DbErr {
    let file = options.get_filename().display();
    let why = format!("SQLite database {file}: {error}");
    DbErr::Conn(RuntimeErr::Internal(why))
}

/// The name without the forms of a URI. <https://www.sqlite.org/uri.html>
fn path(name: &str) -> Cow<'_, str> {
    let Some(uri) = name.strip_prefix("file:") else {
        return name.into();
    };
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let hosts = ["//localhost", "//"];
    let local = hosts.iter().find_map(|host| path.strip_prefix(host));
    percent_decode_str(local.unwrap_or(path)).decode_utf8_lossy()
}
