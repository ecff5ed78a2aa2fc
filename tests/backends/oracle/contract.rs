//! The contract of locks, mounted for Oracle.

use std::sync::{Arc, Mutex};

use dlock::LockPool;
use dlock::oracle::oracledb::{Connection, ToDbValue, connect};
use dlock_tests::{env, urls};
use tokio::task::spawn_blocking;

use crate::suite::{Backend, Failure, Locks, Outcome, contract_of_locks};

contract_of_locks! {
    Oracle,
    without VICTIM: "the Oracle at DLOCK_TEST_ORACLE_URL is not the tests' own to restart",
}

const URL: &str = "DLOCK_TEST_ORACLE_URL";

/// Its account must see `v$lock` and `v$session`, and may end sessions.
pub(crate) struct Oracle(Arc<Mutex<Connection>>);

impl Oracle {
    /// Off the runtime: the driver blocks.
    async fn do_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, dlock::oracle::oracledb::Error> + Send + 'static,
    ) -> Outcome<T> {
        let connection = Arc::clone(&self.0);
        let worked = spawn_blocking(move || {
            let connection = connection
                .lock()
                .map_err(|_| "the connection has panicked")?;
            work(&connection).map_err(|error| error.to_string())
        });
        worked.await?.map_err(Failure::new)
    }

    async fn numbers(&self, sql: &'static str, value: String) -> Outcome<Vec<i64>> {
        self.do_with(move |connection| {
            let values: [&dyn ToDbValue; 1] = [&value];
            connection
                .query(sql, &values)?
                .map(|row| row?.get(0))
                .collect()
        })
        .await
    }
}

impl Backend for Oracle {
    type Db = LockPool;

    const SHARED: bool = true;
    const PINNED: bool = false;
    const XACT: bool = false;
    const LOSABLE: bool = true;
    const SILENT_URL: Option<fn(u16) -> String> =
        Some(|port| format!("oracle://nobody:nothing@127.0.0.1:{port}/nowhere"));
    const VICTIM: Option<&str> = None;
    const PAIRS: bool = false;

    async fn open() -> Outcome<Self> {
        let config = urls::oracle(&urls::named(&env(URL), "dlock's tests"));
        let connection = spawn_blocking(|| connect(config).map_err(|error| error.to_string()));
        let connection = connection.await?.map_err(Failure::new)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    fn url(&self, application: &str) -> String {
        Self::named(&env(URL), application)
    }

    fn named(url: &str, application: &str) -> String {
        urls::named(url, application)
    }

    fn holder(application: &str) -> String {
        application.to_owned()
    }

    async fn database(&self, _of: &LockPool) -> Outcome<String> {
        let sql = "SELECT SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA') FROM DUAL";
        self.do_with(|connection| connection.query_row(sql, &[])?.get(0))
            .await
    }

    /// By the number that a lock has on the server.
    async fn locks(&self, keys: &[i64]) -> Outcome<Locks> {
        let sql = "SELECT l.id1 FROM v$lock l WHERE l.type = 'UL' AND DECODE(l.lmode, 0, 'wanted', 'held') = :1";
        let ids: Vec<i64> = keys.iter().map(|key| key.rem_euclid(1 << 30)).collect();
        let count = async |state: &str| {
            let locks = self.numbers(sql, state.to_owned()).await?;
            Ok::<_, Failure>(locks.iter().filter(|id| ids.contains(id)).count())
        };
        Ok(Locks {
            held: count("held").await?,
            waited_for: count("wanted").await?,
        })
    }

    async fn sessions(&self, application: &str) -> Outcome<Option<usize>> {
        let sql = "SELECT sid FROM v$session WHERE program = :1";
        let sessions = self.numbers(sql, application.to_owned()).await?;
        Ok(Some(sessions.len()))
    }

    async fn kill_sessions(&self, application: &str) -> Outcome<usize> {
        let sql = "SELECT sid || ',' || serial# FROM v$session WHERE program = :1";
        let application = application.to_owned();
        self.do_with(move |connection| {
            let values: [&dyn ToDbValue; 1] = [&application];
            let sessions = connection.query(sql, &values)?;
            let sessions: Vec<String> =
                sessions.map(|row| row?.get(0)).collect::<Result<_, _>>()?;
            for session in &sessions {
                connection.execute(
                    &format!("ALTER SYSTEM KILL SESSION '{session}' IMMEDIATE"),
                    &[],
                )?;
            }
            Ok(sessions.len())
        })
        .await
    }
}
