//! A network that goes silent: sockets stay open and nothing comes any more, as when a host or a firewall in between is gone.

use std::future::pending;
use std::io;
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::connect;
use sea_orm::TransactionTrait;
use sea_orm::sqlx::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::server::{PATIENCE, Server, holders, key, options, url};
use crate::suite::waiting;

/// What a proxy does with a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flow {
    Through,
    /// Silence after the server's first [`READY_FOR_QUERY`].
    UntilReady,
    Silent,
}

/// The end of a handshake. <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const READY_FOR_QUERY: &[u8] = b"Z\0\0\0\x05I";

/// A TCP proxy in front of the main server.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) url: String,
    fresh: watch::Sender<Flow>,
    silence: watch::Sender<()>,
}

impl Proxy {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let url = options(&url()).host("127.0.0.1").port(port).to_url_lossy();
        let (fresh, flow) = watch::channel(Flow::Through);
        let (silence, silenced) = watch::channel(());
        tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // From now on.
                let mut silenced = silenced.clone();
                silenced.mark_unchanged();
                let flow = *flow.borrow();
                open.spawn(async move { forward(client, flow, silenced).await });
            }
        });
        Self {
            url: url.to_string(),
            fresh,
            silence,
        }
    }

    /// What becomes of new connections.
    pub(super) fn fresh(&self, flow: Flow) {
        self.fresh.send_replace(flow);
    }

    /// Those that are open stay open, and nothing passes any more.
    pub(super) fn silence(&self) {
        self.silence.send_replace(());
    }
}

/// Until one side closes, or for ever.
async fn forward(
    mut client: TcpStream,
    flow: Flow,
    mut silenced: watch::Receiver<()>,
) -> io::Result<()> {
    if matches!(flow, Flow::Silent) {
        return pending().await;
    }
    let server = options(&url());
    let mut server = TcpStream::connect((server.get_host(), server.get_port())).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let back = async {
        match flow {
            Flow::Through => copy(&mut from_server, &mut to_client).await.map(drop),
            Flow::UntilReady => {
                until_ready(&mut from_server, &mut to_client).await?;
                pending().await
            }
            Flow::Silent => pending().await,
        }
    };
    tokio::select! {
        there = copy(&mut from_client, &mut to_server) => there.map(drop),
        back = back => back,
        _ = silenced.changed() => pending().await,
    }
}

async fn until_ready(server: &mut ReadHalf<'_>, client: &mut WriteHalf<'_>) -> io::Result<()> {
    let mut seen = Vec::new();
    while !seen.ends_with(READY_FOR_QUERY) {
        let before = seen.len();
        if server.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        client.write_all(&seen[before..]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_lock_whose_network_falls_silent_is_lost_and_goes_on_to_its_waiters_when_it_is_free() {
    let keepalive = Duration::from_secs(2);
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    let pool = LockPool::builder(&db).keepalive(keepalive).install();
    let (mut server, key) = (Server::main().await, key());
    let guard = db.dlock(key).await.unwrap();
    let holder = format!("SELECT pid FROM {}", holders(key));
    let cut_off = server.ask(&holder).await;
    let waiters = [(); 3].map(|()| {
        let db = db.clone();
        tokio::spawn(async move { db.dlock(key).timeout(PATIENCE).await?.release().await })
    });
    waiting(&db, waiters.len()).await.unwrap();

    let started = Instant::now();
    proxy.silence();
    timeout(PATIENCE, guard.lost()).await.unwrap();
    let took = started.elapsed();
    assert!(took < keepalive + Duration::from_millis(1500), "{took:?}");
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");

    // The server knows nothing of it: to a new session the lock is held.
    server.until_wanted(key, 1).await;
    assert_eq!(server.ask(&holder).await, cut_off);
    assert!(!waiters.iter().any(JoinHandle::is_finished));
    let ended = format!("pg_terminate_backend({cut_off})");
    assert!(server.is(&ended).await);
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    let counters = pool.status().counters;
    assert_eq!((counters.lost, counters.sessions_lost), (1, 1));
    server.until_free(key).await;
}

#[tokio::test]
async fn a_session_that_falls_silent_while_it_is_checked_is_an_error_and_not_the_last_word() {
    let keepalive = Duration::from_secs(1);
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    LockPool::builder(&db).keepalive(keepalive).install();
    let key = key();
    proxy.fresh(Flow::UntilReady);
    let started = Instant::now();
    let result = timeout(PATIENCE, db.dlock(key)).await.unwrap();
    let took = started.elapsed();
    let phase = Phase::Connect;
    assert!(
        matches!(&result, Err(Error::Database { phase: found, .. }) if *found == phase),
        "{result:?}"
    );
    assert!(took >= keepalive, "{took:?}");
    assert!(took < keepalive + Duration::from_secs(4), "{took:?}");

    proxy.fresh(Flow::Through);
    let guard = db.dlock(key).timeout(PATIENCE).await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_wait_in_a_transaction_whose_network_is_silent_ends_at_its_deadline() {
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    let limit = Duration::from_millis(300);
    let txn = db.begin().await.unwrap();
    proxy.silence();
    let started = Instant::now();
    let result = txn.dlock(key()).xact().timeout(limit).await;
    let took = started.elapsed();
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    assert!(took >= limit, "{took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test]
async fn a_wait_in_a_transaction_whose_network_falls_silent_ends_at_its_deadline() {
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    let limit = Duration::from_secs(2);
    let (mut server, key) = (Server::main().await, key());
    server.lock(key).await;
    let txn = db.begin().await.unwrap();
    let started = Instant::now();
    let (result, ()) = tokio::join!(txn.dlock(key).xact().timeout(limit).acquire(), async {
        server.until_wanted(key, 1).await;
        proxy.silence();
    });
    let took = started.elapsed();
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    assert!(took >= limit, "{took:?}");
    assert!(took < limit + Duration::from_millis(1200), "{took:?}");
}

#[tokio::test]
async fn a_wait_for_a_session_whose_network_is_silent_ends_at_its_deadline() {
    let proxy = Proxy::start().await;
    let db = connect(&proxy.url, 1).await;
    let keepalive = Duration::from_secs(2);
    LockPool::builder(&db).keepalive(keepalive).install();
    let limit = Duration::from_millis(500);
    proxy.fresh(Flow::Silent);
    let started = Instant::now();
    let result = db.dlock(key()).timeout(limit).await;
    let took = started.elapsed();
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    assert!(took >= limit, "{took:?}");
    assert!(took < limit + Duration::from_millis(1200), "{took:?}");

    // The next one may hear that the attempt of the first has failed, but soon.
    proxy.fresh(Flow::Through);
    let healed = Instant::now();
    while db.dlock(key()).await.is_err() {}
    let took = healed.elapsed();
    assert!(took < keepalive + PATIENCE, "{took:?}");
}
