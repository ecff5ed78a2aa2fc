//! The contract, mounted for SQLite.

use sea_orm::DatabaseConnection;

use super::database::{Scratch, held};
use crate::suite::{Backend, Locks, OrmBackend, Outcome, ask, contract};

contract! {
    Sqlite,
    without LOSABLE: "a lock is on a file that its holder keeps open: only the holder can end it",
    without SILENT_URL: "SQLite opens a file: there is no server that could be silent",
    without VICTIM: "SQLite opens a file: there is no server to restart",
    without SESSION: "a connection of SQLite has no number",
}

pub(crate) struct Sqlite {
    database: Scratch,
}

impl Backend for Sqlite {
    type Db = DatabaseConnection;

    const SHARED: bool = true;
    const PINNED: bool = true;
    const XACT: bool = false;
    const LOSABLE: bool = false;
    const SILENT_URL: Option<fn(u16) -> String> = None;
    const VICTIM: Option<&str> = None;
    const PAIRS: bool = false;

    async fn open() -> Outcome<Self> {
        let database = Scratch::create().await;
        Ok(Self { database })
    }

    fn url(&self, _application: &str) -> String {
        self.database.url()
    }

    fn named(url: &str, _application: &str) -> String {
        url.to_owned()
    }

    /// A process, as Linux calls it.
    fn holder(_application: &str) -> String {
        let name = std::fs::read_to_string("/proc/self/comm").expect("Linux");
        name.trim_end().to_owned()
    }

    async fn database(&self, of: &DatabaseConnection) -> Outcome<String> {
        ask(of, "SELECT name FROM pragma_database_list WHERE seq = 0").await
    }

    async fn locks(&self, keys: &[i64]) -> Outcome<Locks> {
        let files = keys
            .iter()
            .map(|key| self.database.lock_file(&key.to_string()));
        Ok(Locks {
            held: files.map(|file| held(&file)).sum(),
            waited_for: 0,
        })
    }

    async fn sessions(&self, _application: &str) -> Outcome<Option<usize>> {
        Ok(None)
    }

    async fn kill_sessions(&self, _application: &str) -> Outcome<usize> {
        unreachable!("a lock on a file cannot be ended from outside")
    }
}

impl OrmBackend for Sqlite {
    const IMPATIENCE: &str = "PRAGMA busy_timeout = 1";
    const SESSION: Option<&str> = None;

    /// It counts as far as it gets in about that time.
    fn slow_statement(milliseconds: u32) -> Option<String> {
        let steps = 2000 * milliseconds;
        Some(format!(
            "WITH RECURSIVE step(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < {steps}) SELECT count(*) FROM step"
        ))
    }

    async fn slow_commits(&self, _table: &str, _milliseconds: u32) -> Outcome<bool> {
        Ok(false)
    }
}
