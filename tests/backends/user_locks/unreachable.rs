//! Servers that cannot be reached or let nobody in: the error says why, promptly, and nothing is left behind.

use std::error::Error as _;
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use sea_orm::DatabaseConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::options::{lazy, name, options};
use super::{Scene, Server};
use crate::suite::{Outcome, elapsed, soon};

fn at_port(port: u16) -> Outcome<DatabaseConnection> {
    let url = format!("mysql://nobody@127.0.0.1:{port}/nothing");
    Ok(lazy(options(&url)?))
}

/// Waiting for a lock and trying for one fail while connecting. Returns why.
async fn why(db: &DatabaseConnection, within: Duration) -> Outcome<String> {
    let waited = async { db.dlock(name()).await.map(drop) };
    let tried = async { db.dlock(name()).try_acquire().await.map(drop) };
    let (both, took) = elapsed(async { tokio::join!(waited, tried) }).await;
    assert!(took < within, "{took:?}");
    let mut causes = Vec::new();
    for result in [both.0, both.1] {
        let Err(
            error @ Error::Database {
                phase: Phase::Connect,
                ..
            },
        ) = result
        else {
            panic!("{result:?}");
        };
        let mut cause = error.source();
        let mut chain = String::new();
        while let Some(error) = cause {
            chain += &format!("{error}; ");
            cause = error.source();
        }
        causes.push(chain);
    }
    let status = LockPool::of(db).status();
    assert_eq!((status.sessions, status.keys, status.waiters), (0, 0, 0));
    Ok(causes.swap_remove(0))
}

const PROMPT: Duration = Duration::from_secs(8);

/// An application that logs in with an account of its own and without a password.
async fn denied<S: Server>(scene: &Scene<S>, account_is: &str) -> Outcome<String> {
    let mut raw = scene.raw().await?;
    let account = name();
    raw.run(&format!("CREATE USER {account} {account_is}"))
        .await?;
    let db = lazy(options(&scene.url("ours"))?.username(&account));
    let why = tokio::spawn(async move { why(&db, PROMPT).await }).await;
    raw.run(&format!("DROP USER {account}")).await?;
    why?
}

pub(crate) async fn a_wrong_password_is_named<S: Server>(scene: &Scene<S>) -> Outcome {
    let why = denied(scene, "IDENTIFIED BY 'secret'").await?;
    assert!(why.contains("Access denied for user"), "{why}");
    assert!(!why.contains("secret"), "{why}");
    Ok(())
}

pub(crate) async fn an_account_that_is_locked_is_named<S: Server>(scene: &Scene<S>) -> Outcome {
    let why = denied(scene, "ACCOUNT LOCK").await?;
    assert!(
        why.contains("Access denied") && why.contains("locked"),
        "{why}"
    );
    Ok(())
}

pub(crate) async fn a_wrong_database_is_named<S: Server>(scene: &Scene<S>) -> Outcome {
    let missing = name();
    let db = lazy(options(&scene.url("ours"))?.database(&missing));
    let why = why(&db, PROMPT).await?;
    assert!(why.contains(&missing), "{why}");
    Ok(())
}

pub(crate) async fn a_port_without_a_server_is_given_up_after_seconds<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    // Nothing listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let why = why(&at_port(port)?, Duration::from_secs(10)).await?;
    assert!(why.contains("refused"), "{why}");
    Ok(())
}

/// A timeout means that another client has the lock, which nobody knows here.
pub(crate) async fn a_port_without_a_server_is_no_timeout<S: Server>(_: &Scene<S>) -> Outcome {
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let db = at_port(port)?;
    for timeout in [Duration::from_millis(300), Duration::from_secs(1)] {
        for pinned in [false, true] {
            let lock = db.dlock(name()).timeout(timeout);
            let (result, took) = match pinned {
                false => elapsed(async { lock.await.map(drop) }).await,
                true => elapsed(async { lock.pinned().await.map(drop) }).await,
            };
            assert!(took < timeout + Duration::from_secs(2), "{took:?}");
            let Err(Error::Database { phase, source }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(phase, Phase::Connect);
            assert!(source.to_string().contains("refused"), "{source}");
        }
    }
    Ok(())
}

/// What a server says to everybody before it hangs up.
async fn server_that_says(greeting: &'static [u8]) -> Outcome<(u16, JoinSet<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            drop(client.write_all(greeting).await);
            drop(client.shutdown().await);
            // What is left unread would be answered by a reset, which can overtake the greeting.
            drop(client.read_to_end(&mut Vec::new()).await);
        }
    });
    Ok((port, serving))
}

async fn is_no_server(greeting: &'static [u8]) -> Outcome<String> {
    let (port, _serving) = server_that_says(greeting).await?;
    soon("an error", why(&at_port(port)?, PROMPT)).await?
}

pub(crate) async fn a_port_that_closes_at_once_is_an_error<S: Server>(_: &Scene<S>) -> Outcome {
    let why = is_no_server(b"").await?;
    assert!(
        why.contains("bytes") || why.contains("end of file") || why.contains("eof"),
        "{why}"
    );
    Ok(())
}

pub(crate) async fn a_port_that_speaks_another_protocol_is_an_error<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    for greeting in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"+OK ready\r\n",
        b"\0",
        b"\x01\0\0\0\x0a",
        b"\0\0\0\0",
        b"\x04\0\0\0\xff\x10\x04x",
    ] {
        let why = is_no_server(greeting).await?;
        assert!(!why.is_empty());
    }
    Ok(())
}

/// The application's own connections are up; then the server lets in nobody more.
pub(crate) async fn a_server_that_is_gone_by_the_first_lock_is_named<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = dlock_tests::connect(&proxy.url(), 1).await;
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    proxy.aim(&format!("mysql://x@127.0.0.1:{port}/x"))?;
    why(&db, PROMPT).await?;
    proxy.aim(&scene.url("ours"))?;
    Ok(db.dlock(name()).await?.release().await?)
}
