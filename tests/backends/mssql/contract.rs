//! The contract of locks, mounted for SQL Server.

use std::path::PathBuf;

use dlock::LockPool;
use dlock::tiberius::{Client, Query, Row};
use dlock_tests::{env, urls};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::suite::{Backend, Failure, Locks, Outcome, contract_of_locks};

contract_of_locks!(SqlServer);

const URL: &str = "DLOCK_TEST_MSSQL_URL";

pub(crate) struct SqlServer(Mutex<Client<Compat<TcpStream>>>);

impl SqlServer {
    async fn rows(&self, sql: &str, values: &[&str]) -> Outcome<Vec<Row>> {
        let mut query = Query::new(sql);
        for value in values {
            query.bind(*value);
        }
        let mut client = self.0.lock().await;
        Ok(query.query(&mut client).await?.into_first_result().await?)
    }

    async fn numbers(&self, sql: &str, values: &[&str]) -> Outcome<Vec<i32>> {
        let rows = self.rows(sql, values).await?;
        let number = |row: &Row| row.try_get(0)?.ok_or(Failure::new("no number"));
        rows.iter().map(number).collect()
    }

    /// One by one, for servers that list no locks.
    async fn asked_about(&self, keys: &[i64]) -> Outcome<Locks> {
        let test = "SELECT CONVERT(int, APPLOCK_TEST(N'public', @P1, N'Exclusive', N'Session'))";
        let mut locks = Locks::default();
        for key in keys {
            let free = self.numbers(test, &[&key.to_string()]).await?;
            locks.held += usize::from(free == [0]);
        }
        Ok(locks)
    }
}

impl Backend for SqlServer {
    type Db = LockPool;

    const SHARED: bool = true;
    const PINNED: bool = false;
    const XACT: bool = false;
    const LOSABLE: bool = true;
    const PAIRS: bool = false;

    async fn open() -> Outcome<Self> {
        let config = urls::mssql(&urls::named(&env(URL), "dlock's tests"));
        let stream = TcpStream::connect(config.get_addr()).await?;
        stream.set_nodelay(true)?;
        let client = Client::connect(config, stream.compat_write()).await?;
        Ok(Self(Mutex::new(client)))
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

    fn silent_url(port: u16) -> Option<String> {
        Some(format!("mssql://nobody@127.0.0.1:{port}/master"))
    }

    fn victim() -> Option<PathBuf> {
        None
    }

    async fn database(&self, _of: &LockPool) -> Outcome<String> {
        let rows = self.rows("SELECT DB_NAME()", &[]).await?;
        let name = rows.first().and_then(|row| row.get::<&str, _>(0));
        Ok(name.ok_or(Failure::new("no database"))?.to_owned())
    }

    async fn locks(&self, keys: &[i64]) -> Outcome<Locks> {
        let list = "SELECT resource_description, request_status FROM sys.dm_tran_locks \
                    WHERE resource_type = N'APPLICATION' AND resource_database_id = DB_ID()";
        let Ok(rows) = self.rows(list, &[]).await else {
            return self.asked_about(keys).await;
        };
        let names: Vec<String> = keys.iter().map(|key| format!(":[{key}]:")).collect();
        let mut locks = Locks::default();
        for row in rows {
            let (shown, status) = (row.get::<&str, _>(0), row.get::<&str, _>(1));
            if names
                .iter()
                .any(|name| shown.is_some_and(|shown| shown.contains(name)))
            {
                match status {
                    Some("WAIT") => locks.waited_for += 1,
                    _ => locks.held += 1,
                }
            }
        }
        Ok(locks)
    }

    async fn sessions(&self, application: &str) -> Outcome<Option<usize>> {
        let list =
            "SELECT CONVERT(int, session_id) FROM sys.dm_exec_sessions WHERE program_name = @P1";
        Ok(Some(self.numbers(list, &[application]).await?.len()))
    }

    async fn kill_sessions(&self, application: &str) -> Outcome<usize> {
        let list =
            "SELECT CONVERT(int, session_id) FROM sys.dm_exec_sessions WHERE program_name = @P1";
        let sessions = self.numbers(list, &[application]).await?;
        for session in &sessions {
            let kill = format!("KILL {session}");
            let mut client = self.0.lock().await;
            client.simple_query(kill).await?.into_results().await?;
        }
        Ok(sessions.len())
    }
}
