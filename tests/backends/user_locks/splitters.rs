//! Every mode of the splitter does what it says, to connections of sqlx without dlock.

use std::time::Duration;

use dlock_tests::env;
use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, Row};
use tokio::time::timeout;

use super::options::{name, options};
use super::raw::Raw;
use super::splitter::{Mode, SessionStatements, Splitter};
use super::{Scene, Server};
use crate::suite::{Failure, Outcome, eventually};

const PORT: &str = "SELECT @@port";
const NUMBER: &str = "SELECT CAST(CONNECTION_ID() AS SIGNED)";

fn servers<S: Server>() -> [String; 2] {
    [env(S::URL), env(S::SECOND)]
}

/// The ports of the two servers.
fn ports<S: Server>() -> Outcome<[String; 2]> {
    let [first, second] = servers::<S>();
    let port = |url: &str| Ok::<_, Failure>(options(url)?.get_port().to_string());
    Ok([port(&first)?, port(&second)?])
}

async fn in_turn<S: Server>(session_statements: SessionStatements) -> Outcome<Splitter> {
    let mode = Mode::RoundRobinStatements {
        servers: servers::<S>(),
        session_statements,
    };
    Splitter::start(mode).await
}

async fn by_text<S: Server>(session_statements: SessionStatements) -> Outcome<Splitter> {
    let [primary, replica] = servers::<S>();
    let mode = Mode::SplitReads {
        primary,
        replica,
        session_statements,
    };
    Splitter::start(mode).await
}

const PRETENDED: &str = "8.0.30-Vitess";

async fn pretender<S: Server>() -> Outcome<Splitter> {
    let server = env(S::URL);
    let from = Raw::at(&server).await?.row("SELECT VERSION()").await?;
    let to = PRETENDED.to_owned();
    Splitter::start(Mode::Answer { server, from, to }).await
}

pub(crate) async fn connections_go_to_two_servers_in_turn<S: Server>(_: &Scene<S>) -> Outcome {
    let servers = servers::<S>();
    let splitter = Splitter::start(Mode::RoundRobinConnections { servers }).await?;
    let mut clients = Vec::new();
    for port in ports::<S>()?.iter().cycle().take(3) {
        let mut client = Raw::at(splitter.url()).await?;
        for _ in 0..2 {
            assert_eq!(&client.row(PORT).await?, port);
        }
        clients.push(client);
    }
    assert_eq!(splitter.sessions(), 3);
    Ok(())
}

pub(crate) async fn statements_go_to_two_servers_in_turn<S: Server>(_: &Scene<S>) -> Outcome {
    for session_statements in [SessionStatements::ToOne, SessionStatements::ToBoth] {
        let splitter = in_turn::<S>(session_statements).await?;
        let mut client = Raw::at(splitter.url()).await?;
        let ports = ports::<S>()?;
        // sqlx has sent one statement.
        for statement in 1..5 {
            assert_eq!(client.row(PORT).await?, ports[statement % 2]);
        }
        client.run("BEGIN").await?;
        for _ in 0..3 {
            assert_eq!(client.row(PORT).await?, ports[1]);
        }
        client.run("COMMIT").await?;
        assert_eq!(client.row(PORT).await?, ports[0]);
        assert_eq!((splitter.statements(), splitter.sessions()), (11, 2));
    }
    Ok(())
}

pub(crate) async fn reads_are_split_from_the_rest<S: Server>(_: &Scene<S>) -> Outcome {
    let splitter = by_text::<S>(SessionStatements::ToOne).await?;
    let mut client = Raw::at(splitter.url()).await?;
    let [primary, replica] = ports::<S>()?;
    for read in [PORT, " select @@port"] {
        assert_eq!(client.row(read).await?, replica);
    }
    assert_eq!(client.row("/**/ SELECT @@port").await?, primary);
    let show = client.row("SHOW VARIABLES LIKE 'port'").await?;
    assert_eq!(show, format!("port {primary}"));

    // There is no such table on the replica.
    let table = name();
    client
        .run(&format!("CREATE TEMPORARY TABLE {table} (n INT)"))
        .await?;
    client.run(&format!("UPDATE {table} SET n = 1")).await?;

    client.run("BEGIN").await?;
    assert_eq!(client.row(PORT).await?, primary);
    client.run("COMMIT").await?;
    assert_eq!(client.row(PORT).await?, replica);
    Ok(())
}

pub(crate) async fn statements_that_change_a_session_go_to_one_or_both<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    for (session_statements, on_the_replica) in [
        (SessionStatements::ToOne, "NULL"),
        (SessionStatements::ToBoth, "1"),
    ] {
        let splitter = by_text::<S>(session_statements).await?;
        let mut client = Raw::at(splitter.url()).await?;
        client.run("SET @splitter = 1").await?;
        assert_eq!(client.row("/**/ SELECT @splitter").await?, "1");
        assert_eq!(client.row("SELECT @splitter").await?, on_the_replica);
    }
    Ok(())
}

pub(crate) async fn an_answer_is_another_one<S: Server>(_: &Scene<S>) -> Outcome {
    let splitter = pretender::<S>().await?;
    let mut client = Raw::at(splitter.url()).await?;
    assert_eq!(
        client.row("SELECT VERSION(), 1").await?,
        format!("{PRETENDED} 1")
    );
    let show = client.row("SHOW VARIABLES LIKE 'version'").await?;
    assert_eq!(show, format!("version {PRETENDED}"));
    Ok(())
}

/// So many rows, in all results together, or an error.
const ANSWERS: [(&str, Option<usize>); 8] = [
    ("DO 0", Some(0)),
    ("SELECT 1 UNION SELECT 2", Some(2)),
    ("SELECT 1 FROM (SELECT 1) t WHERE FALSE", Some(0)),
    (
        "SELECT '' UNION ALL SELECT NULL UNION ALL SELECT REPEAT('x', 100000)",
        Some(3),
    ),
    (
        "SELECT 1; DO 0; SELECT '', 2; SET @x = 1; SELECT 3",
        Some(3),
    ),
    ("SELECT 1; SELECT * FROM missing.missing; SELECT 3", None),
    ("SELECT * FROM missing.missing", None),
    // An error after the columns.
    (
        "SELECT (SELECT n UNION SELECT 3 - n) FROM (SELECT 1.5 AS n UNION SELECT 1) t",
        None,
    ),
];

pub(crate) async fn every_kind_of_answer_ends_where_it_should<S: Server>(_: &Scene<S>) -> Outcome {
    let splitter = in_turn::<S>(SessionStatements::ToBoth).await?;
    let mut client = options(splitter.url())?.connect().await?;
    let columns: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    let wide = format!("SELECT {}", columns.join(", "));
    for (sql, rows) in ANSWERS.into_iter().chain([(&*wide, Some(1))]) {
        // On either server.
        for _ in 0..2 {
            let answer = sqlx::raw_sql(AssertSqlSafe(sql))
                .fetch_all(&mut client)
                .await;
            let answer = answer.ok().map(|rows| rows.len());
            assert_eq!(answer, rows, "{sql}");
        }
        let next = sqlx::raw_sql("SELECT '7'").fetch_one(&mut client).await?;
        assert_eq!(next.try_get::<&str, _>(0)?, "7", "after {sql}");
    }
    Ok(())
}

pub(crate) async fn prepared_statements_work_in_every_mode<S: Server>(_: &Scene<S>) -> Outcome {
    let servers = servers::<S>();
    let connections = Mode::RoundRobinConnections { servers };
    for splitter in [
        Splitter::start(connections).await?,
        in_turn::<S>(SessionStatements::ToOne).await?,
        in_turn::<S>(SessionStatements::ToBoth).await?,
        by_text::<S>(SessionStatements::ToOne).await?,
        by_text::<S>(SessionStatements::ToBoth).await?,
        pretender::<S>().await?,
    ] {
        for capacity in [0, 1, 100] {
            let options = options(splitter.url())?.statement_cache_capacity(capacity);
            let mut clients = [options.connect().await?, options.connect().await?];
            for round in 0..2 {
                for client in &mut clients {
                    use_prepared_statements(client, round).await?;
                }
            }
        }
    }
    Ok(())
}

async fn use_prepared_statements(client: &mut MySqlConnection, round: i64) -> Outcome {
    for n in 0..3 {
        let sql = AssertSqlSafe(format!("SELECT ? + {n}, ''"));
        let row = sqlx::query(sql).bind(round).fetch_one(&mut *client).await?;
        assert_eq!(row.try_get::<i64, _>(0)?, round + n);
    }
    let show = sqlx::query("SHOW VARIABLES LIKE 'port'");
    assert_eq!(show.fetch_all(&mut *client).await?.len(), 1);
    sqlx::query("SET @splitter = ?")
        .bind(round)
        .execute(&mut *client)
        .await?;
    sqlx::query("DO 0").execute(&mut *client).await?;

    // Errors, of preparing and of executing, leave the connection usable.
    let wrong = sqlx::query("SELECT ? FROM missing.missing").bind(round);
    assert!(wrong.fetch_one(&mut *client).await.is_err());
    let failing = sqlx::query("SELECT (SELECT 1 UNION SELECT ?)").bind(2);
    assert!(failing.fetch_one(&mut *client).await.is_err());

    let mut transaction = client.begin().await?;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let number = sqlx::query_scalar::<_, i64>(NUMBER);
        sessions.push(number.fetch_one(&mut *transaction).await?);
    }
    transaction.commit().await?;
    sessions.dedup();
    assert_eq!(sessions.len(), 1, "one transaction, one session");
    Ok(())
}

pub(crate) async fn sessions_end_with_their_splitter_and_with_their_client<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let splitter = in_turn::<S>(SessionStatements::ToOne).await?;
    let account = scene.application("ours");
    let options: MySqlConnectOptions = options(splitter.url())?.username(&account);
    let mut client = options.connect().await?;
    let sleep = sqlx::raw_sql("DO SLEEP(3)").execute(&mut client);
    let slept = timeout(Duration::from_millis(200), sleep).await;
    assert!(slept.is_err(), "{slept:?}");
    assert_eq!(splitter.sessions(), 2);
    drop(client);
    eventually("the sessions of a client end with it", async || {
        Ok(splitter.sessions() == 0)
    })
    .await?;

    let mut client = options.connect().await?;
    client.ping().await?;
    drop(splitter);
    let sessions = format!("information_schema.PROCESSLIST WHERE USER = '{account}'");
    for server in servers::<S>() {
        let mut raw = Raw::at(&server).await?;
        eventually("the sessions of a splitter end with it", async || {
            Ok(raw.count(&sessions).await? == 0)
        })
        .await?;
    }
    Ok(())
}
