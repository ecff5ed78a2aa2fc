//! How a SQL Server session is opened, and refused where its locks would mean nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tiberius::error::{Error as TdsError, IoErrorKind};
use tiberius::{Client, Config, SqlBrowser};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::compat::TokioAsyncWriteCompatExt;

use super::keys::RULES;
use super::session::{MsSqlSession, Reopen, session_error};
use super::socket::watched;
use crate::backend::rules::LockRules;
use crate::backend::seam::Backend;
use crate::backend::session::Opened;
use crate::backend::session_error::SessionError;
use crate::backend::shared::alone::open_in_time;
use crate::backend::shared::one_database::OneDatabase;
use crate::backend::shared::trouble::{STARTUP, Trouble};
use crate::error::{Error, Phase};
use crate::key::CurrentDatabase;

/// A server may send its clients elsewhere, and that one, too.
const MAX_REDIRECTIONS: usize = 5;

const REPLICA: Error = Error::refused(
    "a read-only SQL Server database, like a secondary replica",
    "the primary",
    "connect to the primary: locks of a replica exclude no session of the primary",
);

/// Opens sessions.
pub(super) struct Opener {
    config: Config,
    /// How long a server that refuses connections may take to come up.
    patience: Duration,
    database: OneDatabase,
    trouble: Trouble,
}

impl Opener {
    pub(super) fn new(config: Config, keepalive: Duration) -> Self {
        Self {
            config,
            patience: STARTUP.min(keepalive / 2),
            database: OneDatabase::default(),
            trouble: Trouble::default(),
        }
    }

    async fn open(self: Arc<Self>) -> Result<MsSqlSession, TdsError> {
        let patience = Instant::now() + self.patience;
        let _attempt = self.trouble.begin();
        loop {
            match Arc::clone(&self).log_in().await {
                Err(error) if is_starting(&error) && Instant::now() < patience => {
                    self.trouble.note(&session_error(error).of(Phase::Connect));
                    sleep(Duration::from_millis(250)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Where the server sends us, too.
    async fn log_in(self: Arc<Self>) -> Result<MsSqlSession, TdsError> {
        let mut config = self.config.clone();
        let mut redirections = 0..MAX_REDIRECTIONS;
        loop {
            // Only the server's own address may be one that the SQL Browser knows by name.
            let stream = match redirections.start {
                0 => TcpStream::connect_named(&config).await?,
                _ => TcpStream::connect(config.get_addr()).await?,
            };
            stream.set_nodelay(true)?;
            let (socket, watch) = watched(stream);
            match Client::connect(config.clone(), socket.compat_write()).await {
                Err(TdsError::Routing { host, port }) if redirections.next().is_some() => {
                    config.host(host);
                    config.port(port);
                }
                client => return client.map(|client| MsSqlSession::new(client, watch, self)),
            }
        }
    }

    pub(super) async fn open_checked(self: Arc<Self>) -> Result<MsSqlSession, SessionError> {
        let mut session = Arc::clone(&self).open().await.map_err(session_error)?;
        let life = session.sign_of_life().await.map_err(session_error)?;
        if life.is_read_only {
            return Err(SessionError::Refused(REPLICA));
        }
        self.database.meet(life.database)?;
        session.id = life.id;
        session.application = life.application;
        session.is_babelfish = life.is_babelfish;
        Ok(session)
    }
}

#[async_trait]
impl Reopen for Opener {
    async fn reopen(self: Arc<Self>) -> Result<MsSqlSession, SessionError> {
        self.open_checked().await
    }
}

pub(super) struct MsSqlBackend {
    /// A session must be open by then.
    pub(super) limit: Duration,
    pub(super) opener: Arc<Opener>,
}

fn is_starting(error: &TdsError) -> bool {
    matches!(
        error,
        TdsError::Io {
            kind: IoErrorKind::ConnectionRefused,
            ..
        }
    )
}

#[async_trait]
impl Backend for MsSqlBackend {
    fn rules(&self) -> &'static LockRules {
        &RULES
    }

    fn upgrades(&self) -> bool {
        true
    }

    fn database(&self) -> CurrentDatabase {
        self.opener.database.get()
    }

    async fn connect(&self) -> Result<Opened, SessionError> {
        open_in_time(self.limit, Arc::clone(&self.opener).open_checked()).await
    }

    fn trouble(&self) -> Option<Error> {
        self.opener.trouble.get()
    }
}
