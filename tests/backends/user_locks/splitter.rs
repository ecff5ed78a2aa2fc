//! A proxy in front of two servers that sends each statement, or each connection, to one of them.
//!
//! It knows no TLS. The second server is logged in to with the first packet of the client, so that
//! the account must have no password.

mod client;
mod packet;
mod relay;
mod session;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::mysql::MySqlSslMode;

use self::client::Client;
use self::relay::Relay;
use super::options::options;
use crate::suite::Outcome;
use crate::transport::{Address, Counts, Listener, Transport};

/// Where statements go that change a session: `SET ..` and `USE ..`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionStatements {
    /// As all other statements.
    ToOne,
    /// To both sessions of the client; the answer of the first one counts.
    ToBoth,
}

/// What the proxy does with its clients. Servers are URLs.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// Each client has the next server.
    RoundRobinConnections { servers: [String; 2] },
    /// Each client has one session on both servers, and its statements go to them in turn.
    ///
    /// A transaction stays where it began. One client starts with the first server, the next client
    /// with the second one, and so on.
    RoundRobinStatements {
        servers: [String; 2],
        session_statements: SessionStatements,
    },
    /// Each client has one session on both servers: statements that begin with SELECT go to the
    /// replica, all others to the primary, and so does a whole transaction.
    SplitReads {
        primary: String,
        replica: String,
        session_statements: SessionStatements,
    },
    /// A whole value of rows is replaced by another one of up to 250 bytes, and so is the version
    /// in the greeting.
    Answer {
        server: String,
        from: String,
        to: String,
    },
}

/// How the session for the next statement is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    InTurn,
    /// The first one is the primary, the second one a replica.
    ByText,
}

/// Listens as long as it lives; its sessions on the servers end with it.
#[derive(Debug)]
pub(crate) struct Splitter {
    url: String,
    counts: Arc<Counts>,
    _listener: Listener,
}

impl Splitter {
    pub(crate) async fn start(mode: Mode) -> Outcome<Self> {
        let counts = Arc::<Counts>::default();
        let (url, plan) = Plan::of(mode)?;
        let plan = Arc::new(plan);
        let clients = AtomicUsize::new(0);
        let listener = Listener::start({
            let counts = Arc::clone(&counts);
            move |client| {
                let number = clients.fetch_add(1, Ordering::SeqCst);
                let (plan, counts) = (Arc::clone(&plan), Arc::clone(&counts));
                async move { plan.serve(client, number, counts).await }
            }
        });
        let listener = listener.await?;
        let url = options(&url)?
            .host("127.0.0.1")
            .port(listener.port)
            .ssl_mode(MySqlSslMode::Disabled);
        Ok(Self {
            url: url.to_url_lossy().to_string(),
            counts,
            _listener: listener,
        })
    }

    /// The first of the servers, through this.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many statements the clients have executed.
    pub(crate) fn statements(&self) -> usize {
        self.counts.statements()
    }

    /// How many sessions are open on the servers.
    pub(crate) fn sessions(&self) -> usize {
        self.counts.sessions()
    }
}

/// A mode, ready for clients.
enum Plan {
    Relayed {
        servers: Vec<Address>,
        relay: Relay,
    },
    Split {
        servers: [Address; 2],
        choice: Choice,
        session_statements: SessionStatements,
    },
}

impl Plan {
    /// With the URL of the first server.
    fn of(mode: Mode) -> Outcome<(String, Self)> {
        Ok(match mode {
            Mode::RoundRobinConnections {
                servers: [first, second],
            } => {
                let plan = Self::Relayed {
                    servers: vec![address(&first)?, address(&second)?],
                    relay: Relay::Unchanged,
                };
                (first, plan)
            }
            Mode::RoundRobinStatements {
                servers: [first, second],
                session_statements,
            } => {
                let plan = Self::Split {
                    servers: [address(&first)?, address(&second)?],
                    choice: Choice::InTurn,
                    session_statements,
                };
                (first, plan)
            }
            Mode::SplitReads {
                primary,
                replica,
                session_statements,
            } => {
                let plan = Self::Split {
                    servers: [address(&primary)?, address(&replica)?],
                    choice: Choice::ByText,
                    session_statements,
                };
                (primary, plan)
            }
            Mode::Answer { server, from, to } => {
                let plan = Self::Relayed {
                    servers: vec![address(&server)?],
                    relay: Relay::Answer { from, to },
                };
                (server, plan)
            }
        })
    }

    async fn serve(&self, client: Transport, number: usize, counts: Arc<Counts>) -> io::Result<()> {
        match self {
            Self::Relayed { servers, relay } => {
                let server = &servers[number % servers.len()];
                relay.serve(client, server, &counts).await
            }
            Self::Split {
                servers,
                choice,
                session_statements,
            } => {
                let Some(client) = Client::log_in(client, servers, &counts).await? else {
                    return Ok(());
                };
                let client = client.routed(*choice, *session_statements, number % 2);
                client.serve().await
            }
        }
    }
}

fn address(url: &str) -> Outcome<Address> {
    let server = options(url)?;
    Ok((server.get_host().to_owned(), server.get_port()))
}
