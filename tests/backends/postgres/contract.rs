//! The contract, mounted for PostgreSQL.

use dlock_tests::{connect, env};
use sea_orm::{ConnectionTrait, DatabaseConnection};

use crate::suite::{Backend, Locks, OrmBackend, Outcome, ask, contract};

contract!(Postgres);

pub(crate) struct Postgres {
    db: DatabaseConnection,
}

impl Postgres {
    async fn count(&self, from: String) -> Outcome<usize> {
        let count: i64 = ask(&self.db, format!("SELECT count(*) FROM {from}")).await?;
        Ok(usize::try_from(count)?)
    }
}

impl Backend for Postgres {
    type Db = DatabaseConnection;

    const SHARED: bool = true;
    const PINNED: bool = true;
    const XACT: bool = true;
    const LOSABLE: bool = true;
    const SILENT_URL: Option<fn(u16) -> String> =
        Some(|port| format!("postgres://nobody@127.0.0.1:{port}/nothing"));
    const VICTIM: Option<&str> = Some("DLOCK_TEST_POSTGRES_VICTIM");
    const PAIRS: bool = true;

    async fn open() -> Outcome<Self> {
        let url = Self::named(&env("DLOCK_TEST_POSTGRES_URL"), "dlock-suite");
        let db = connect(&url, 1).await;
        Ok(Self { db })
    }

    fn url(&self, application: &str) -> String {
        Self::named(&env("DLOCK_TEST_POSTGRES_URL"), application)
    }

    fn named(url: &str, application: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}application_name={application}")
    }

    fn holder(application: &str) -> String {
        format!("{application} dlock")
    }

    async fn database(&self, of: &DatabaseConnection) -> Outcome<String> {
        ask(of, "SELECT current_database()::text").await
    }

    async fn locks(&self, keys: &[i64]) -> Outcome<Locks> {
        let keys: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
        let view = format!(
            "pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND (classid::bigint << 32 | objid::bigint) = ANY (ARRAY[{}]::bigint[])",
            keys.join(", ")
        );
        Ok(Locks {
            held: self.count(format!("{view} AND granted")).await?,
            waited_for: self.count(format!("{view} AND NOT granted")).await?,
        })
    }

    async fn sessions(&self, application: &str) -> Outcome<Option<usize>> {
        let name = format!("application_name = '{application} dlock'");
        let sessions = self.count(format!("pg_stat_activity WHERE {name}")).await?;
        Ok(Some(sessions))
    }

    async fn kill_sessions(&self, application: &str) -> Outcome<usize> {
        let name = format!("application_name = '{application} dlock'");
        let killed =
            format!("SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE {name}");
        self.count(format!("({killed}) killed WHERE done")).await
    }
}

impl OrmBackend for Postgres {
    const IMPATIENCE: &str = "SET lock_timeout = '1ms'";
    const SESSION: Option<&str> = Some("SELECT pg_backend_pid()::bigint");

    fn slow_statement(milliseconds: u32) -> Option<String> {
        let seconds = f64::from(milliseconds) / 1000.0;
        Some(format!("SELECT pg_sleep({seconds})"))
    }

    async fn slow_commits(&self, table: &str, milliseconds: u32) -> Outcome<bool> {
        let seconds = f64::from(milliseconds) / 1000.0;
        let slow = format!(
            "CREATE OR REPLACE FUNCTION slow_{table}() RETURNS trigger LANGUAGE plpgsql \
             AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION slow_{table}()"
        );
        self.db.execute_unprepared(&slow).await?;
        Ok(true)
    }
}
