//! How an Oracle session is opened, and refused where its locks would mean nothing.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use oracledb::Config;
use tokio::sync::Semaphore;

use super::driver::OracleDriver;
use super::keys::RULES;
use super::session::OracleSession;
use super::statements;
use super::thread::DriverThread;
use crate::backend::origin::ConnectSettings;
use crate::backend::rules::LockRules;
use crate::backend::seam::Backend;
use crate::backend::session::Opened;
use crate::backend::session_error::SessionError;
use crate::backend::shared::alone::open_in_time;
use crate::backend::shared::one_database::OneDatabase;
use crate::error::Error;
use crate::key::CurrentDatabase;

const STANDBY: Error = Error::refused(
    "an Oracle standby database",
    "the primary",
    "connect to the primary: locks of a standby exclude no session of the primary",
);

/// By far the most common reason is that the account may not use the package. The server has one
/// error for this and for others, so the user reads which it was.
fn no_package(error: &str) -> Error {
    Error::Refused {
        found: Cow::Owned(format!(
            "an Oracle account that cannot call `DBMS_LOCK`: {}",
            error.trim_end()
        )),
        expected: Cow::Borrowed("an account that may execute the package"),
        way_out: "let an administrator run `GRANT EXECUTE ON DBMS_LOCK TO` this account, unless \
                  the server's error names another cause",
    }
}

/// A thread whose connection the network has swallowed is stuck until the operating system gives it
/// up.
const SPARE_THREADS: usize = 8;

const NO_ROOM: &str = "as many connections as there may be still hang in connecting or logging off";

pub(super) struct OracleBackend {
    config: Config,
    /// A session must be open by then.
    limit: Duration,
    /// As many as there may be, those among them that are stuck.
    threads: Arc<Semaphore>,
    database: OneDatabase,
}

impl OracleBackend {
    pub(super) fn new(config: Config, settings: ConnectSettings) -> Self {
        let sessions = settings
            .max_sessions
            .min(Semaphore::MAX_PERMITS - SPARE_THREADS);
        Self {
            config,
            limit: settings.keepalive,
            threads: Arc::new(Semaphore::new(sessions + SPARE_THREADS)),
            database: OneDatabase::default(),
        }
    }

    async fn open(&self) -> Result<OracleSession, SessionError> {
        let (config, limit) = (self.config.clone(), self.limit);
        let open = move || OracleDriver::connect(config, limit);
        let room = Arc::clone(&self.threads).try_acquire_owned();
        let room = room.map_err(|_| SessionError::ended(NO_ROOM))?;
        let thread = DriverThread::start(room, open).await?;
        let mut session = OracleSession::new(thread, self.limit / 2);
        let life = session.sign_of_life().await?;
        if !life.is_primary {
            return Err(SessionError::Refused(STANDBY));
        }
        self.database.meet(life.schema)?;
        session.identity = life.identity;
        session.number = life.number;
        session.calls_package().await?;
        Ok(session)
    }
}

impl OracleSession {
    /// Whether the account may use the package: releases a lock that it does not hold, which
    /// changes nothing.
    pub(super) async fn calls_package(&mut self) -> Result<(), SessionError> {
        let block = statements::exchange(std::iter::once(0), std::iter::empty());
        match self.compile_error(block).await? {
            None => Ok(()),
            Some(error) => Err(SessionError::Refused(no_package(&error))),
        }
    }
}

#[async_trait]
impl Backend for OracleBackend {
    fn rules(&self) -> &'static LockRules {
        &RULES
    }

    fn database(&self) -> CurrentDatabase {
        self.database.get()
    }

    async fn connect(&self) -> Result<Opened, SessionError> {
        open_in_time(self.limit, self.open()).await
    }
}
