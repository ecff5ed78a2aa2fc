//! Which session runs a client's next batch.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use super::message::Message;
use super::pool::{Lease, Pool};
use super::session::{Batch, Failure, Session};
use super::startup::Startup;
use crate::transport::{Address, Counts, Transport};

/// How one of a client's own sessions is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    InTurn,
    /// The first one is the primary, the second one a replica.
    ByText,
}

pub(super) enum Routes {
    Shared {
        pool: Arc<Pool>,
        startup: Startup,
        client: u32,
        /// As long as a transaction is open.
        lease: Option<Box<Lease>>,
    },
    Owned {
        sessions: Vec<Session>,
        choice: Choice,
        last: usize,
    },
}

impl Routes {
    pub(super) fn shared(pool: Arc<Pool>, startup: Startup, client: u32) -> Self {
        Self::Shared {
            pool,
            startup,
            client,
            lease: None,
        }
    }

    /// The session number `first` is the next one.
    pub(super) async fn owned(
        servers: &[Address],
        choice: Choice,
        first: usize,
        startup: &Startup,
        counts: &Arc<Counts>,
    ) -> Result<Self, Failure> {
        let mut sessions = Vec::new();
        for server in servers {
            sessions.push(Session::open(server, startup, counts).await?);
        }
        Ok(Self::Owned {
            sessions,
            choice,
            last: (first + servers.len() - 1) % servers.len(),
        })
    }

    pub(super) async fn greeting(&mut self) -> Result<Vec<Message>, Failure> {
        match self {
            Self::Shared {
                pool,
                startup,
                client,
                ..
            } => {
                let mut lease = pool.lend(*client, startup).await?;
                let greeting = lease.session().greeting.clone();
                pool.put_back(lease);
                Ok(greeting)
            }
            Self::Owned { sessions, .. } => Ok(sessions[0].greeting.clone()),
        }
    }

    pub(super) async fn run(
        &mut self,
        batch: Batch,
        client: &mut Transport,
    ) -> Result<(), Failure> {
        match self {
            Self::Shared {
                pool,
                startup,
                client: number,
                lease,
            } => {
                let mut lent = match lease.take() {
                    Some(lent) => *lent,
                    None => tokio::select! {
                        lent = pool.lend(*number, startup) => lent?,
                        error = until_closed(client) => return Err(error.into()),
                    },
                };
                lent.session().relay(batch, client).await?;
                if lent.session().is_in_transaction() {
                    *lease = Some(Box::new(lent));
                } else {
                    pool.put_back(lent);
                }
            }
            Self::Owned {
                sessions,
                choice,
                last,
            } => {
                if !sessions[*last].is_in_transaction() {
                    *last = match choice {
                        Choice::InTurn => (*last + 1) % sessions.len(),
                        Choice::ByText => usize::from(batch.text.as_deref().is_some_and(is_read)),
                    };
                }
                sessions[*last].relay(batch, client).await?;
            }
        }
        Ok(())
    }

    /// What a session has said unasked, as when it ends.
    pub(super) async fn unasked(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|context| {
            for session in self.sessions() {
                if let Poll::Ready(filled) = session.transport.poll_fill(context) {
                    filled?;
                    return Poll::Ready(Ok(std::mem::take(&mut session.transport.arrived)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Those that this client has now.
    fn sessions(&mut self) -> &mut [Session] {
        match self {
            Self::Shared { lease, .. } => match lease {
                Some(lease) => std::slice::from_mut(lease.session()),
                None => &mut [],
            },
            Self::Owned { sessions, .. } => sessions,
        }
    }
}

async fn until_closed(client: &mut Transport) -> io::Error {
    loop {
        if let Err(error) = client.fill().await {
            return error;
        }
    }
}

/// Splitters look at the first word. A comment in front of it is none.
fn is_read(text: &[u8]) -> bool {
    let word = text.trim_ascii_start().get(..6);
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"select"))
}
