//! A client of the server: tiberius over a real socket.

use std::time::Duration;

use dlock_tds::{Answer, AppLocks, Server, SessionId};
use tiberius::{AuthMethod, Client as Tiberius, Config, EncryptionLevel, Row, error::Error};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

pub(crate) type Client = Tiberius<Compat<TcpStream>>;

/// What takes longer hangs.
const LONG: Duration = Duration::from_secs(60);

/// The output, or a failure if it does not come.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future)
        .await
        .expect("it comes within a minute")
}

pub(crate) async fn app_locks() -> Server<AppLocks> {
    Server::start(AppLocks::new()).await.unwrap()
}

/// Without TLS, to the database `tests`.
pub(crate) fn config<A: Answer>(server: &Server<A>) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(server.address().port());
    config.authentication(AuthMethod::sql_server("me", "secret"));
    config.database("tests");
    config.application_name("tests of dlock-tds");
    config.encryption(EncryptionLevel::NotSupported);
    config.command_timeout(Some(LONG));
    config
}

pub(crate) async fn connect<A: Answer>(server: &Server<A>) -> Client {
    connect_as(config(server)).await.unwrap()
}

pub(crate) async fn connect_as(config: Config) -> Result<Client, Error> {
    let tcp = TcpStream::connect(config.get_addr()).await?;
    tcp.set_nodelay(true)?;
    Tiberius::connect(config, tcp.compat_write()).await
}

pub(crate) async fn spid(client: &mut Client) -> SessionId {
    let row = client
        .simple_query("SELECT @@SPID")
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    SessionId(row.get::<i16, _>(0).unwrap())
}

/// What `sp_getapplock` returns.
pub(crate) async fn get(client: &mut Client, name: &str, mode: &str, limit: i32) -> i32 {
    const SQL: &str = "DECLARE @r int; EXEC @r = sp_getapplock @Resource = @P1, @LockMode = @P2, @LockOwner = N'Session', @LockTimeout = @P3; SELECT @r";
    number(client, SQL, &[&name, &mode, &limit]).await.unwrap()
}

/// What `sp_releaseapplock` returns, or its error.
pub(crate) async fn release(client: &mut Client, name: &str) -> Result<i32, Error> {
    const SQL: &str = "DECLARE @r int; EXEC @r = sp_releaseapplock @Resource = @P1, @LockOwner = N'Session'; SELECT @r";
    number(client, SQL, &[&name]).await
}

/// What `APPLOCK_MODE` returns.
pub(crate) async fn mode(client: &mut Client, name: &str) -> String {
    let row = client
        .query("SELECT APPLOCK_MODE(N'public', @P1, N'Session')", &[&name])
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    row.get::<&str, _>(0).unwrap().to_owned()
}

async fn number(
    client: &mut Client,
    sql: &str,
    parameters: &[&dyn tiberius::ToSql],
) -> Result<i32, Error> {
    let row = client.query(sql, parameters).await?.into_row().await?;
    Ok(row.expect("a row").get(0).expect("no NULL"))
}

/// What a batch returns. tiberius tells an error at once if no rows came before it or come after it, and else at the end.
pub(crate) async fn ask(client: &mut Client, sql: &str) -> Result<Vec<Vec<Row>>, Error> {
    soon(async { client.simple_query(sql).await?.into_results().await }).await
}

/// The number of an error that the server sent.
pub(crate) fn code(error: &Error) -> u32 {
    error
        .code()
        .unwrap_or_else(|| panic!("{error:?} is not of the server"))
}

/// Whether it is of the connection.
pub(crate) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Io { .. })
}
