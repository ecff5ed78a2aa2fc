//! What people would write without a library, and the limit of what a server can do for one connection: sqlx, prepared statements, a connection for each task.

use std::time::Duration;

use dlock_bench_child::{Lock, Result, Sample, Subject};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{
    self, ConnectOptions, Connection, MySqlConnection, PgConnection, SqliteConnection,
};

pub(super) struct Raw {
    url: String,
}

impl Raw {
    pub(super) fn new(sample: &Sample) -> Self {
        let url = sample.url.clone();
        Self { url }
    }
}

impl Subject for Raw {
    type Lock = Connected;

    async fn lock(&self, key: String) -> Result<Connected> {
        let url = &self.url;
        Ok(match url.split(':').next() {
            // A number, as PostgreSQL's locks have it: all that is in the text of the key is hashed beforehand.
            Some("postgres") => {
                Connected::Postgres(PgConnection::connect(url).await?, number(&key))
            }
            Some("mysql") => Connected::MySql(MySqlConnection::connect(url).await?, key),
            // No locks but that on the whole database.
            _ => {
                let options = url.parse::<SqliteConnectOptions>()?;
                Connected::Sqlite(
                    options
                        .busy_timeout(Duration::from_secs(60))
                        .connect()
                        .await?,
                )
            }
        })
    }
}

pub(super) enum Connected {
    Postgres(PgConnection, i64),
    MySql(MySqlConnection, String),
    Sqlite(SqliteConnection),
}

impl Lock for Connected {
    type Held = ();

    async fn acquire(&mut self) -> Result<()> {
        match self {
            Self::Postgres(connection, key) => {
                let query = sqlx::query("SELECT pg_advisory_lock($1)").bind(*key);
                query.execute(connection).await?;
            }
            Self::MySql(connection, key) => {
                let query = sqlx::query_scalar("SELECT GET_LOCK(?, 60)").bind(&*key);
                expect(query.fetch_one(connection).await?)?;
            }
            Self::Sqlite(connection) => {
                sqlx::query("BEGIN IMMEDIATE").execute(connection).await?;
            }
        }
        Ok(())
    }

    async fn try_acquire(&mut self) -> Result<Option<()>> {
        let got = match self {
            Self::Postgres(connection, key) => {
                let query = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(*key);
                query.fetch_one(connection).await?
            }
            Self::MySql(connection, key) => {
                let query = sqlx::query_scalar("SELECT GET_LOCK(?, 0)").bind(&*key);
                let got: i64 = query.fetch_one(connection).await?;
                got == 1
            }
            Self::Sqlite(_) => return Err("BEGIN IMMEDIATE waits".into()),
        };
        Ok(got.then_some(()))
    }

    async fn release(&mut self, (): ()) -> Result<()> {
        match self {
            Self::Postgres(connection, key) => {
                let query = sqlx::query_scalar("SELECT pg_advisory_unlock($1)").bind(*key);
                let released: bool = query.fetch_one(connection).await?;
                expect(released.into())
            }
            Self::MySql(connection, key) => {
                let query = sqlx::query_scalar("SELECT RELEASE_LOCK(?)").bind(&*key);
                expect(query.fetch_one(connection).await?)
            }
            Self::Sqlite(connection) => {
                sqlx::query("ROLLBACK").execute(connection).await?;
                Ok(())
            }
        }
    }
}

fn expect(done: i64) -> Result<()> {
    match done {
        1 => Ok(()),
        _ => Err("the server says that it has not".into()),
    }
}

/// FNV-1a: the same in every process.
fn number(key: &str) -> i64 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}
