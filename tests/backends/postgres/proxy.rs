//! A proxy that speaks PostgreSQL's protocol, version 3, and routes as poolers and splitters do.
//! <https://www.postgresql.org/docs/current/protocol-flow.html>
//!
//! It knows no TLS. The modes that open sessions of their own need a server without passwords.

mod client;
mod message;
mod pool;
mod relay;
mod routes;
mod self_tests;
mod session;
mod startup;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::sqlx::ConnectOptions;

use self::client::Client;
use self::pool::Pool;
use self::relay::Relay;
use self::routes::{Choice, Routes};
use self::session::Failure;
use self::startup::Startup;
use super::server::options;
use crate::transport::{Address, Counts, Listener, Transport};

/// How a pooler replays a client's settings on a session that it lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// `SET "name" TO 'value'`
    Set,
    /// `SELECT set_config('name', 'value', false)`
    SetConfig,
}

/// What the proxy does with its clients. Servers are URLs.
#[derive(Debug, Clone)]
pub(super) enum Mode {
    /// A pooler in transaction mode, as PgDog: a message batch runs on any of its shared sessions.
    ///
    /// The session stays with its client as long as a transaction is open. Before it serves another
    /// client, that client's start-up options and other start-up parameters are replayed on it. All
    /// clients must have the same account and database.
    ReplayOptions {
        server: String,
        sessions: usize,
        replay: Replay,
    },
    /// Each client has one session on every server, and its message batches go to them in turn.
    ///
    /// A transaction stays where it began. One client starts with the first server, the next client
    /// with the second one, and so on.
    RoundRobinStatements { servers: Vec<String> },
    /// Each client has one session on both servers: statements that begin with SELECT go to the
    /// replica, all others to the primary, and so does a whole transaction.
    SplitReads { primary: String, replica: String },
    /// Each client has the next server.
    RoundRobinConnections { servers: Vec<String> },
    /// A client with `options` in its start-up message is refused with this SQLSTATE and message.
    RefuseOptions {
        server: String,
        code: &'static str,
        message: &'static str,
    },
    /// In rows of results some bytes are replaced by as many others.
    Answer {
        server: String,
        from: &'static str,
        to: &'static str,
    },
}

/// Listens as long as it lives; its sessions on the servers end with it.
#[derive(Debug)]
pub(super) struct Proxy {
    url: String,
    counts: Arc<Counts>,
    _listener: Listener,
}

impl Proxy {
    pub(super) async fn start(mode: Mode) -> Self {
        let counts = Arc::<Counts>::default();
        let (url, plan) = Plan::of(mode, &counts);
        let plan = Arc::new(plan);
        let numbers = Arc::new(AtomicU32::new(0));
        let listener = Listener::start({
            let counts = Arc::clone(&counts);
            move |client| {
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                let (plan, counts) = (Arc::clone(&plan), Arc::clone(&counts));
                async move { plan.serve(client, number, counts).await }
            }
        });
        let listener = listener.await.expect("a port is free");
        let url = options(&url).host("127.0.0.1").port(listener.port);
        Self {
            url: url.to_url_lossy().to_string(),
            counts,
            _listener: listener,
        }
    }

    /// The first of the servers, through this.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How many statements the clients have executed.
    pub(super) fn statements(&self) -> usize {
        self.counts.statements()
    }

    /// How many sessions are open on the servers.
    pub(super) fn sessions(&self) -> usize {
        self.counts.sessions()
    }
}

/// A mode, ready for clients.
enum Plan {
    Shared(Arc<Pool>),
    Owned {
        servers: Vec<Address>,
        choice: Choice,
    },
    Relayed {
        servers: Vec<Address>,
        relay: Relay,
    },
}

impl Plan {
    /// With the URL of the first server.
    fn of(mode: Mode, counts: &Arc<Counts>) -> (String, Self) {
        let addresses = |urls: &[String]| urls.iter().map(|url| address(url)).collect();
        let relayed = |server: String, relay| {
            let servers = vec![address(&server)];
            (server, Self::Relayed { servers, relay })
        };
        match mode {
            Mode::ReplayOptions {
                server,
                sessions,
                replay,
            } => {
                let pool = Pool::new(address(&server), sessions, replay, Arc::clone(counts));
                (server, Self::Shared(Arc::new(pool)))
            }
            Mode::RoundRobinStatements { servers } => {
                let plan = Self::Owned {
                    servers: addresses(&servers),
                    choice: Choice::InTurn,
                };
                (servers[0].clone(), plan)
            }
            Mode::SplitReads { primary, replica } => {
                let plan = Self::Owned {
                    servers: vec![address(&primary), address(&replica)],
                    choice: Choice::ByText,
                };
                (primary, plan)
            }
            Mode::RoundRobinConnections { servers } => {
                let plan = Self::Relayed {
                    servers: addresses(&servers),
                    relay: Relay::Unchanged,
                };
                (servers[0].clone(), plan)
            }
            Mode::RefuseOptions {
                server,
                code,
                message,
            } => relayed(server, Relay::RefuseOptions { code, message }),
            Mode::Answer { server, from, to } => {
                assert_eq!(from.len(), to.len(), "an answer keeps its length");
                relayed(server, Relay::Answer { from, to })
            }
        }
    }

    async fn serve(
        &self,
        mut client: Transport,
        number: u32,
        counts: Arc<Counts>,
    ) -> io::Result<()> {
        let Some(startup) = Startup::receive(&mut client).await? else {
            return Ok(());
        };
        let served = match self {
            Self::Shared(pool) => {
                let routes = Routes::shared(Arc::clone(pool), startup, number);
                Client::new(&mut client, routes, &counts).serve().await
            }
            Self::Owned { servers, choice } => {
                let first = number as usize % servers.len();
                match Routes::owned(servers, *choice, first, &startup, &counts).await {
                    Ok(routes) => Client::new(&mut client, routes, &counts).serve().await,
                    Err(failure) => Err(failure),
                }
            }
            Self::Relayed { servers, relay } => {
                let server = &servers[number as usize % servers.len()];
                relay.serve(&mut client, startup, server, &counts).await
            }
        };
        match served {
            Err(Failure::Refused(answer)) => client.write(&answer.encoded()).await,
            Err(Failure::Io(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }
}

fn address(url: &str) -> Address {
    let server = options(url);
    (server.get_host().to_owned(), server.get_port())
}
