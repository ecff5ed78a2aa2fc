//! A few sessions that all clients share.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Replay;
use super::session::{Failure, Session};
use super::startup::Startup;
use crate::transport::{Address, Counts};

pub(super) struct Pool {
    server: Address,
    replay: Replay,
    /// The last one is lent first.
    idle: Mutex<Vec<Shared>>,
    permits: Arc<Semaphore>,
    counts: Arc<Counts>,
}

/// A session, and what the pooler knows of it.
struct Shared {
    session: Session,
    /// Its last client, and the settings that were replayed for it.
    client: Option<u32>,
    settings: Vec<(String, String)>,
}

/// A session on loan. The pool does not get it back when it is dropped: it is closed then.
pub(super) struct Lease {
    shared: Shared,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.shared.session
    }
}

impl Pool {
    pub(super) fn new(
        server: Address,
        sessions: usize,
        replay: Replay,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            server,
            replay,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(sessions)),
            counts,
        }
    }

    /// Waits for a free session.
    pub(super) async fn lend(&self, client: u32, startup: &Startup) -> Result<Lease, Failure> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("nobody closes it");
        let mut shared = match self.take_idle() {
            Some(shared) => shared,
            None => Shared {
                session: Session::open(&self.server, &startup.without_options(), &self.counts)
                    .await?,
                client: None,
                settings: Vec::new(),
            },
        };
        if shared.client != Some(client) {
            let settings = startup.settings();
            for statement in self.replay.statements(&shared.settings, &settings) {
                shared.session.run(&statement).await?;
            }
            shared.client = Some(client);
            shared.settings = settings;
        }
        Ok(Lease {
            shared,
            _permit: permit,
        })
    }

    fn take_idle(&self) -> Option<Shared> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut shared = idle.pop()?;
            if !shared.session.has_spoken() {
                return Some(shared);
            }
        }
    }

    pub(super) fn put_back(&self, lease: Lease) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(lease.shared);
    }
}

impl Replay {
    /// From the settings of one client to those of the next one.
    fn statements(self, from: &[(String, String)], to: &[(String, String)]) -> Vec<String> {
        let identifier = |name: &str| name.replace('"', "\"\"");
        let is_kept = |name| to.iter().any(|(kept, _)| kept == name);
        let obsolete = from.iter().filter(|(name, _)| !is_kept(name));
        let mut statements: Vec<_> = obsolete
            .map(|(name, _)| format!(r#"RESET "{}""#, identifier(name)))
            .collect();
        statements.extend(to.iter().map(|(name, value)| {
            let value = value.replace('\'', "''");
            match self {
                Self::Set => format!(r#"SET "{}" TO '{value}'"#, identifier(name)),
                Self::SetConfig => {
                    let name = name.replace('\'', "''");
                    format!("SELECT set_config('{name}', '{value}', false)")
                }
            }
        }));
        statements
    }
}
