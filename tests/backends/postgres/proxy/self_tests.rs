//! Every mode of the proxy does what it says, to connections of sqlx without dlock.

use std::time::Duration;

use dlock_tests::env;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::sync::MutexGuard;

use super::{Mode, Proxy, Replay};
use crate::postgres::server::{SMALL_SERVER, Server, key, name, options, url, with};

const PORT: &str = "SELECT current_setting('port')";
const SESSION: &str = "SELECT pg_backend_pid()";

fn small_url() -> String {
    env("DLOCK_TEST_POSTGRES_SMALL_URL")
}

fn two_servers() -> Vec<String> {
    vec![url(), small_url()]
}

/// The port of the server at this URL, as it says it.
async fn port(url: &str) -> String {
    Server::at(url).await.ask(PORT).await
}

async fn pooler(sessions: usize, replay: Replay) -> Proxy {
    let server = url();
    Proxy::start(Mode::ReplayOptions {
        server,
        sessions,
        replay,
    })
    .await
}

async fn splitter() -> Proxy {
    let (primary, replica) = (url(), small_url());
    Proxy::start(Mode::SplitReads { primary, replica }).await
}

/// The settings are start-up options; their values are encoded as in a URL.
fn with_options(url: &str, settings: &[(&str, &str)]) -> String {
    let mut url = url.to_owned();
    for (name, value) in settings {
        url = with(&url, &format!("options[{name}]"), value);
    }
    url
}

#[tokio::test]
async fn a_pooler_shares_sessions_and_replays_options() {
    for replay in [Replay::Set, Replay::SetConfig] {
        let proxy = pooler(1, replay).await;
        let own = ["it's mine", "another"];
        let client = async |owner: &str| {
            let owner = owner.replace(' ', "%20");
            let settings = [("dlock.owner", &*owner), ("geqo_seed", "0.5")];
            Server::at(&with_options(proxy.url(), &settings)).await
        };
        let (mut first, mut second) = (client(own[0]).await, client(own[1]).await);
        assert_eq!(first.ask(SESSION).await, second.ask(SESSION).await);
        for _ in 0..2 {
            let owner = "SELECT current_setting('dlock.owner')";
            assert_eq!(first.ask(owner).await, own[0]);
            assert_eq!(second.ask(owner).await, own[1]);
        }
        let source = "SELECT source FROM pg_settings WHERE name = 'geqo_seed'";
        assert_eq!(first.ask(source).await, "session");
        let direct = with_options(&url(), &[("geqo_seed", "0.5")]);
        assert_eq!(Server::at(&direct).await.ask(source).await, "client");

        // A client without that option.
        let mut third = Server::at(proxy.url()).await;
        assert_eq!(third.ask(source).await, "default");
        assert_eq!(proxy.sessions(), 1);
        assert_eq!(proxy.statements(), 8);
    }
}

#[tokio::test]
async fn a_session_of_a_pooler_stays_with_its_client_in_a_transaction() {
    let proxy = pooler(2, Replay::Set).await;
    let (mut first, mut second) = (Server::at(proxy.url()).await, Server::at(proxy.url()).await);
    first.run("BEGIN").await;
    let session = first.ask(SESSION).await;
    assert_ne!(second.ask(SESSION).await, session);
    assert_eq!(first.ask(SESSION).await, session);
    first.run("COMMIT").await;
    second.run("BEGIN").await;
    assert_eq!(second.ask(SESSION).await, session);
    assert_eq!(proxy.sessions(), 2);

    // A third client has to wait for a session only as long as all of them are in transactions.
    let mut third = Server::at(proxy.url()).await;
    first.run("BEGIN").await;
    let waiting = third.ask(SESSION);
    let waiting = tokio::time::timeout(Duration::from_millis(100), waiting);
    waiting.await.expect_err("no session is free");
}

/// What makes locks false there.
#[tokio::test]
async fn a_pooler_grants_one_lock_to_two_clients() {
    let proxy = pooler(1, Replay::Set).await;
    let (mut first, mut second) = (Server::at(proxy.url()).await, Server::at(proxy.url()).await);
    let take = format!("pg_try_advisory_lock('{}'::bigint)", key());
    assert!(first.is(&take).await && second.is(&take).await);
}

#[tokio::test]
async fn statements_go_to_two_servers_in_turn() {
    let _small = small_server().await;
    let servers = two_servers();
    let proxy = Proxy::start(Mode::RoundRobinStatements { servers }).await;
    let mut client = Server::at(proxy.url()).await;
    let ports = [port(&url()).await, port(&small_url()).await];
    for round in 0..4 {
        assert_eq!(client.ask(PORT).await, ports[round % 2]);
    }
    client.run("BEGIN").await;
    for _ in 0..3 {
        assert_eq!(client.ask(PORT).await, ports[0]);
    }
    client.run("COMMIT").await;
    assert_eq!(client.ask(PORT).await, ports[1]);
    assert_eq!((proxy.statements(), proxy.sessions()), (10, 2));
}

#[tokio::test]
async fn reads_are_split_from_the_rest() {
    let _small = small_server().await;
    let proxy = splitter().await;
    let mut client = Server::at(proxy.url()).await;
    let (primary, replica) = (port(&url()).await, port(&small_url()).await);
    for read in [PORT, "  select current_setting('port')"] {
        assert_eq!(client.ask(read).await, replica);
    }
    for other in ["SHOW port", "/**/ SELECT current_setting('port')"] {
        assert_eq!(client.ask(other).await, primary);
    }

    // There is no such table on the replica.
    let table = name();
    client
        .run(&format!("CREATE TEMP TABLE {table} (n int)"))
        .await;
    client.run(&format!("UPDATE {table} SET n = 1")).await;
    client.run("SET application_name = 'changed'").await;
    assert_eq!(client.ask("SHOW application_name").await, "changed");
    assert_ne!(
        client
            .ask("SELECT current_setting('application_name')")
            .await,
        "changed"
    );

    client.run("BEGIN").await;
    assert_eq!(client.ask(PORT).await, primary);
    client.run("COMMIT").await;
    assert_eq!(client.ask(PORT).await, replica);
}

#[tokio::test]
async fn connections_go_to_two_servers_in_turn() {
    let _small = small_server().await;
    let servers = two_servers();
    let proxy = Proxy::start(Mode::RoundRobinConnections { servers }).await;
    for server in [url(), small_url(), url()] {
        let mut client = Server::at(proxy.url()).await;
        let expected = port(&server).await;
        for _ in 0..2 {
            assert_eq!(client.ask(PORT).await, expected);
        }
    }
}

#[tokio::test]
async fn options_are_refused() {
    let proxy = Proxy::start(Mode::RefuseOptions {
        server: url(),
        code: "0A000",
        message: "there are no options here",
    })
    .await;
    let with_options = options(proxy.url()).options([("geqo_seed", "0.5")]);
    let refused = with_options.connect().await.unwrap_err();
    let refused = refused.as_database_error().expect("the proxy answers");
    assert_eq!(refused.code().as_deref(), Some("0A000"));
    assert_eq!(refused.message(), "there are no options here");
    assert_eq!(Server::at(proxy.url()).await.ask("SELECT 1").await, "1");
}

#[tokio::test]
async fn an_answer_is_another_one() {
    let proxy = pretender().await;
    let mut client = Server::at(proxy.url()).await;
    let version = client.ask("SELECT version()").await;
    assert!(version.starts_with("YugabyteDB "), "{version}");
    let length = client.ask("SELECT length(version())").await;
    assert_eq!(length, version.len().to_string());
}

async fn pretender() -> Proxy {
    Proxy::start(Mode::Answer {
        server: url(),
        from: "PostgreSQL ",
        to: "YugabyteDB ",
    })
    .await
}

#[tokio::test]
async fn prepared_statements_work_in_every_mode() {
    let _small = small_server().await;
    let servers = two_servers();
    let mut proxies = vec![
        pooler(1, Replay::Set).await,
        pooler(2, Replay::SetConfig).await,
        splitter().await,
        pretender().await,
    ];
    proxies.push(
        Proxy::start(Mode::RoundRobinConnections {
            servers: servers.clone(),
        })
        .await,
    );
    proxies.push(Proxy::start(Mode::RoundRobinStatements { servers }).await);
    for proxy in proxies {
        for capacity in [0, 1, 100] {
            let options = options(proxy.url()).statement_cache_capacity(capacity);
            let mut clients = [open(&options).await, open(&options).await];
            for round in 0..3 {
                for client in &mut clients {
                    use_prepared_statements(client, round).await.unwrap();
                }
            }
        }
    }
}

async fn open(options: &PgConnectOptions) -> PgConnection {
    options.connect().await.expect("the proxy answers")
}

async fn use_prepared_statements(client: &mut PgConnection, round: i64) -> Result<(), sqlx::Error> {
    for n in 0..3 {
        let sql = AssertSqlSafe(format!("SELECT $1::int8 + {n}"));
        let sum = sqlx::query_scalar::<_, i64>(sql).bind(round);
        assert_eq!(sum.fetch_one(&mut *client).await?, round + n);
    }
    let show = sqlx::query_scalar::<_, String>("SHOW is_superuser");
    assert_eq!(show.fetch_one(&mut *client).await?, "on");

    // Errors, of preparing and of executing, leave the connection usable.
    let wrong = sqlx::query("SELECT $1::int8 FROM missing").bind(round);
    assert!(wrong.fetch_one(&mut *client).await.is_err());
    let division = || sqlx::query_scalar::<_, i64>("SELECT 6 / $1::int8");
    let failed = division().bind(0_i64).fetch_one(&mut *client).await;
    assert!(failed.is_err());

    let mut transaction = client.begin().await?;
    let mut sessions = Vec::new();
    for n in 1..4 {
        let quotient = division().bind(n).fetch_one(&mut *transaction).await?;
        assert_eq!(quotient, 6 / n);
        let session = sqlx::query_scalar::<_, i32>(SESSION);
        sessions.push(session.fetch_one(&mut *transaction).await?);
    }
    transaction.commit().await?;
    sessions.dedup();
    assert_eq!(sessions.len(), 1, "one transaction, one session");
    Ok(())
}

#[tokio::test]
async fn sessions_end_with_their_proxy_and_with_their_client() {
    let mut server = Server::main().await;
    let servers = vec![url(), url()];
    let proxies = [
        pooler(2, Replay::Set).await,
        Proxy::start(Mode::RoundRobinStatements { servers }).await,
    ];
    for proxy in proxies {
        let name = name();
        let sessions = format!("pg_stat_activity WHERE application_name = '{name}'");
        let gone = format!("NOT EXISTS (SELECT FROM {sessions})");
        let options = options(proxy.url()).application_name(&name);
        let mut client = open(&options).await;
        let wait = sqlx::raw_sql("SELECT pg_sleep(60)").execute(&mut client);
        let wait = tokio::time::timeout(Duration::from_millis(200), wait);
        wait.await.expect_err("it is not over");
        assert!(server.count(&sessions).await > 0);
        // Proxy and server keep a session that runs a statement until it is terminated.
        drop(client);
        while proxy.sessions() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let end = format!("SELECT pg_terminate_backend(pid) FROM {sessions}");
        server.run(&end).await;
        server.until(&gone).await;

        let mut client = open(&options).await;
        client.ping().await.unwrap();
        assert!(server.count(&sessions).await > 0);
        drop(proxy);
        server.until(&gone).await;
    }
}

async fn small_server() -> MutexGuard<'static, ()> {
    SMALL_SERVER.lock().await
}
