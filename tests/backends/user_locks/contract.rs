//! The contract, for both.

use std::marker::PhantomData;

use dlock_tests::{connect, env};
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseConnection, Statement};

use super::Server;
use crate::suite::{Backend, Locks, OrmBackend, Outcome, ask};

pub(crate) struct UserLocks<S> {
    db: DatabaseConnection,
    server: PhantomData<S>,
}

impl<S: Server> UserLocks<S> {
    async fn count(&self, from: String) -> Outcome<usize> {
        let question = format!("SELECT COUNT(*) FROM performance_schema.{from}");
        let count: i64 = ask(&self.db, question).await?;
        Ok(usize::try_from(count)?)
    }
}

/// The lock sessions of an application: they have a mark.
fn lock_sessions(application: &str) -> String {
    format!(
        "threads JOIN performance_schema.user_variables_by_thread USING (THREAD_ID) \
         WHERE VARIABLE_NAME = 'dlock' AND PROCESSLIST_USER = '{application}'"
    )
}

/// An application is called by its account. There is one without a name and a password, which stands for all of them.
impl<S: Server> Backend for UserLocks<S> {
    type Db = DatabaseConnection;

    const SHARED: bool = false;
    const PINNED: bool = true;
    const XACT: bool = false;
    const LOSABLE: bool = true;
    const SILENT_URL: Option<fn(u16) -> String> =
        Some(|port| format!("mysql://nobody@127.0.0.1:{port}/nothing"));
    const VICTIM: Option<&str> = Some(S::VICTIM);
    const PAIRS: bool = false;

    async fn open() -> Outcome<Self> {
        let db = connect(&env(S::URL), 1).await;
        Ok(Self {
            db,
            server: PhantomData,
        })
    }

    fn url(&self, application: &str) -> String {
        Self::named(&env(S::URL), application)
    }

    fn named(url: &str, application: &str) -> String {
        let (_account, server) = url.split_once('@').expect("a URL with an account");
        format!("mysql://{application}@{server}")
    }

    fn holder(application: &str) -> String {
        let program = std::env::current_exe().expect("a test has a path");
        let program = program.file_name().expect("and a name").to_string_lossy();
        let process = std::process::id();
        format!("{application}@127.0.0.1 dlock {program}[{process}]")
    }

    async fn database(&self, of: &DatabaseConnection) -> Outcome<String> {
        ask(of, "SELECT DATABASE()").await
    }

    async fn locks(&self, keys: &[i64]) -> Outcome<Locks> {
        let keys: Vec<String> = keys.iter().map(|key| format!(", '{key}'")).collect();
        let keys = keys.concat();
        let view = format!(
            "metadata_locks WHERE OBJECT_TYPE = 'USER LEVEL LOCK' AND OBJECT_NAME IN (''{keys})"
        );
        Ok(Locks {
            held: self
                .count(format!("{view} AND LOCK_STATUS = 'GRANTED'"))
                .await?,
            waited_for: self
                .count(format!("{view} AND LOCK_STATUS = 'PENDING'"))
                .await?,
        })
    }

    async fn sessions(&self, application: &str) -> Outcome<Option<usize>> {
        self.count(lock_sessions(application)).await.map(Some)
    }

    async fn kill_sessions(&self, application: &str) -> Outcome<usize> {
        let sessions = lock_sessions(application);
        let select = format!("SELECT PROCESSLIST_ID FROM performance_schema.{sessions}");
        let select = Statement::from_string(DatabaseBackend::MySql, select);
        let mut killed = 0;
        for row in self.db.query_all_raw(select).await? {
            let session: u64 = row.try_get_by_index(0)?;
            let kill = format!("KILL {session}");
            // It may have ended by itself.
            killed += usize::from(self.db.execute_unprepared(&kill).await.is_ok());
        }
        Ok(killed)
    }
}

impl<S: Server> OrmBackend for UserLocks<S> {
    const IMPATIENCE: &str = S::IMPATIENCE;
    const SESSION: Option<&str> = Some("SELECT CAST(CONNECTION_ID() AS SIGNED)");

    fn slow_statement(milliseconds: u32) -> Option<String> {
        let seconds = f64::from(milliseconds) / 1000.0;
        Some(format!("DO SLEEP({seconds})"))
    }

    async fn slow_commits(&self, _table: &str, _milliseconds: u32) -> Outcome<bool> {
        Ok(false)
    }
}
