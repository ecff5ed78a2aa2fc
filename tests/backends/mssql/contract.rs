//! The contract of locks, mounted for SQL Server.

use dlock::LockPool;
use dlock::mssql::tiberius::{Client, Query, Row};
use dlock_tests::{env, urls};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::suite::{Backend, Failure, Locks, Outcome, contract_of_locks};

contract_of_locks! {
    SqlServer,
    without VICTIM: "the SQL Server at DLOCK_TEST_MSSQL_URL is not the tests' own to restart",
}

const URL: &str = "DLOCK_TEST_MSSQL_URL";

pub(crate) struct SqlServer {
    client: Mutex<Client<Compat<TcpStream>>>,
    lists: bool,
}

/// All application locks of the database, for who may see them, where there is such a list.
const LIST: &str = "SELECT resource_description, request_status FROM sys.dm_tran_locks \
                    WHERE resource_type = N'APPLICATION' AND resource_database_id = DB_ID()";

impl SqlServer {
    async fn rows(&self, sql: &str, values: &[&str]) -> Outcome<Vec<Row>> {
        let mut query = Query::new(sql);
        for value in values {
            query.bind(*value);
        }
        let mut client = self.client.lock().await;
        Ok(query.query(&mut client).await?.into_first_result().await?)
    }

    async fn numbers(&self, sql: &str, values: &[&str]) -> Outcome<Vec<i32>> {
        let rows = self.rows(sql, values).await?;
        let number = |row: &Row| row.try_get(0)?.ok_or(Failure::new("no number"));
        rows.iter().map(number).collect()
    }

    /// Many at a time, for servers that list no locks.
    async fn asked_about(&self, keys: &[i64]) -> Outcome<Locks> {
        let mut locks = Locks::default();
        for keys in keys.chunks(200) {
            let test = |key| format!("APPLOCK_TEST(N'public', N'{key}', N'Exclusive', N'Session')");
            let tests: Vec<String> = keys.iter().map(test).collect();
            let free = format!("SELECT CONVERT(int, {})", tests.join(" + "));
            let free = self.numbers(&free, &[]).await?;
            let free = usize::try_from(free.iter().sum::<i32>())?;
            locks.held += keys.len() - free;
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
    const SILENT_URL: Option<fn(u16) -> String> =
        Some(|port| format!("mssql://nobody@127.0.0.1:{port}/master"));
    const VICTIM: Option<&str> = None;
    const PAIRS: bool = false;

    async fn open() -> Outcome<Self> {
        let config = urls::mssql(&urls::named(&env(URL), "dlock's tests"));
        let stream = TcpStream::connect(config.get_addr()).await?;
        stream.set_nodelay(true)?;
        let client = Client::connect(config, stream.compat_write()).await?;
        let mut server = Self {
            client: Mutex::new(client),
            lists: true,
        };
        server.lists = server.rows(LIST, &[]).await.is_ok();
        Ok(server)
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
        let rows = self.rows("SELECT DB_NAME()", &[]).await?;
        let name = rows.first().and_then(|row| row.get::<&str, _>(0));
        Ok(name.ok_or(Failure::new("no database"))?.to_owned())
    }

    fn lists(&self) -> bool {
        self.lists
    }

    async fn locks(&self, keys: &[i64]) -> Outcome<Locks> {
        if !self.lists {
            return self.asked_about(keys).await;
        }
        let rows = self.rows(LIST, &[]).await?;
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
        let mut killed = 0;
        for session in self.numbers(list, &[application]).await? {
            let kill = format!("KILL {session}");
            let mut client = self.client.lock().await;
            // One that has ended since then cannot be killed.
            killed += usize::from(client.execute(kill, &[]).await.is_ok());
        }
        Ok(killed)
    }
}
