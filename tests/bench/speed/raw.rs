//! What people would write without dlock: one connection that locks and unlocks.

use sea_orm::sqlx::{self, Connection, MySqlConnection, PgConnection, SqliteConnection};

pub(crate) enum Raw {
    Postgres(PgConnection),
    MySql(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Raw {
    pub(crate) async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        Ok(match url.split(':').next() {
            Some("mysql") => Self::MySql(MySqlConnection::connect(url).await?),
            Some("sqlite") => Self::Sqlite(SqliteConnection::connect(url).await?),
            _ => Self::Postgres(PgConnection::connect(url).await?),
        })
    }

    /// Locks and unlocks. SQLite has no locks but that on the whole database.
    pub(crate) async fn cycle(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(connection) => {
                for sql in [
                    "SELECT pg_advisory_lock($1)",
                    "SELECT pg_advisory_unlock($1)",
                ] {
                    let query = sqlx::query(sql).bind(42_i64);
                    query.fetch_one(&mut *connection).await?;
                }
            }
            Self::MySql(connection) => {
                for sql in ["SELECT GET_LOCK(?, 10)", "SELECT RELEASE_LOCK(?)"] {
                    let query = sqlx::query(sql).bind("raw");
                    query.fetch_one(&mut *connection).await?;
                }
            }
            Self::Sqlite(connection) => {
                for sql in ["BEGIN IMMEDIATE", "ROLLBACK"] {
                    sqlx::query(sql).execute(&mut *connection).await?;
                }
            }
        }
        Ok(())
    }
}
