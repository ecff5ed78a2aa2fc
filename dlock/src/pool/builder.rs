//! How people shape a lock pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;

use super::LockPool;
use super::config::Config;
use super::connection::Connection;
use super::core::Core;
use super::registry::{self, Bond, Owner};
use crate::backend::{self, Application, Backend, ConnectSettings, Origin};
use crate::error::Error;

/// Shapes a [`LockPool`]; made by [`LockPool::builder`] or [`LockPool::builder_for`].
///
/// A setting that cannot work, like `max_sessions(0)`, is [`Error::InvalidSetting`] on the first use of the pool.
#[must_use = "a builder does nothing until `install` or `build`"]
pub struct LockPoolBuilder<'a> {
    base: Result<Base<'a>, Error>,
    sessions_from: Option<Result<&'a dyn Application, Error>>,
    config: Config,
    runtime: Option<runtime::Handle>,
    trust_session_pooling: bool,
}

const SESSIONS_FROM_ELSEWHERE: Error = Error::InvalidSetting {
    setting: "sessions_from(..)",
    reason: "a pool on SQL Server or Oracle opens its own sessions; leave it out",
};

/// Whose the pool is.
enum Base<'a> {
    Application(&'a dyn Application),
    /// It belongs to no connection: SeaORM has none to this server.
    Server(Box<dyn Origin>),
}

impl<'a> Base<'a> {
    fn application(&self) -> Option<&'a dyn Application> {
        match self {
            Self::Application(application) => Some(*application),
            Self::Server(_) => None,
        }
    }

    fn backend(&self, settings: ConnectSettings) -> Arc<dyn Backend> {
        match self {
            Self::Application(application) => application.backend(settings),
            Self::Server(origin) => origin.backend(settings),
        }
    }
}

impl LockPoolBuilder<'static> {
    pub(super) fn on_server(origin: impl Origin) -> Self {
        Self::on(Ok(Base::Server(Box::new(origin))))
    }
}

impl fmt::Debug for LockPoolBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockPoolBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<'a> LockPoolBuilder<'a> {
    pub(super) fn new(db: &'a impl Connection) -> Self {
        Self::on(db.application().map(Base::Application))
    }

    fn on(base: Result<Base<'a>, Error>) -> Self {
        Self {
            base,
            sessions_from: None,
            config: Config::default(),
            runtime: None,
            trust_session_pooling: false,
        }
    }

    /// Prefixes every key with `{namespace}:`, so that services that share a database (on MySQL and MariaDB: a server) do not meet by accident. Default: none, as in Python.
    ///
    /// Integers and pairs become text by it (`billing:42`, `billing:7,42`) and are hashed like text.
    ///
    /// A transaction does not know the pool of its connection: an [`xact`](crate::DLock::xact) lock takes the namespace over by
    /// [`settings_of`](crate::DLock::settings_of), and is in none without it.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = Some(namespace.into());
        self
    }

    /// Bounds every wait that has no [`timeout`](crate::DLock::timeout) of its own. Default: none.
    /// [`no_timeout`](crate::DLock::no_timeout) lifts it for one lock.
    ///
    /// Session locks have no deadlock detection on the server; this is what ends a circle.
    pub fn default_timeout(mut self, timeout: Duration) -> Self {
        self.config.default_timeout = Some(timeout);
        self
    }

    /// At most this many sessions, holding and waiting together. Default 4, at least 1.
    ///
    /// All but one may wait on the server, each for one key, as far as they hold nothing. When more keys than that are contended, they all take turns of 0.5 s, 1 s and
    /// then 2 s each time (on PostgreSQL at most 0.8 of `deadlock_timeout`, which is 0.8 s by default), and are tried again every 2.5 to 250 ms in between. A lock for which others stand in line without end is hardly ever found free: it is got in
    /// such a turn, if it then takes less than that to be first in line. With one session all keys are only tried again. While no session can be had beside the one that
    /// holds for them, readers of this process that overlap without end keep a writer of another process waiting.
    /// A session that takes more than 250 ms to open is checked by a second connection, which is closed at once; it must be open within the keepalive after that.
    ///
    /// On SQLite a session is no connection: it is a task that looks for a lock every 0.5 to 10 ms while it waits.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.config.max_sessions = sessions;
        self
    }

    /// At most this many sessions that hold one lock each, beside the shared ones: of
    /// [pinned](crate::DLock::pinned) locks, and of [update](crate::DLock::update) locks. Default
    /// 4, at least 1.
    ///
    /// Further such locks wait for a session, under their own timeout. A task that asks for a
    /// second one while it holds one may wait for itself.
    pub fn max_pinned_sessions(mut self, sessions: usize) -> Self {
        self.config.max_pinned_sessions = sessions;
        self
    }

    /// A session that holds this many locks is left alone while another can be had. Default 512, at least 1.
    ///
    /// A PostgreSQL session gets slower with what it holds: 21 µs a statement with none, 1.2 ms with 10,000 (measured on 15).
    pub fn max_locks_per_session(mut self, locks: usize) -> Self {
        self.config.max_locks_per_session = locks;
        self
    }

    /// At most this many times in a row a lock goes from one task of this process to the next without the server. Default 1,024, 0 for never.
    ///
    /// Whatever the number, the server gets it back after 20 ms, and sooner when this process has
    /// waited for it for more than 100 ms: after 400 ms of waiting it keeps the lock for 5 ms. So
    /// other processes have their turn, if they [wait on the server](Self::max_sessions).
    ///
    /// Where a holder needs no time, 1,024 hand-overs last about 1 ms (measured on PostgreSQL, 64
    /// tasks on one key and one core: 0.8 µs a lock, 3.8 µs with 16).
    pub fn max_local_handoffs(mut self, handoffs: u32) -> Self {
        self.config.max_local_handoffs = handoffs;
        self
    }

    /// A session that has had nothing to do for this long is closed. Default 60 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// A session whose network goes silent is given up after this long, and its guards report the loss. Default 15 s, at least 100 ms.
    ///
    /// The server is asked to notice by it that our host has disappeared, so that its locks do not stay: on PostgreSQL it is the TCP keepalive; on MySQL and MariaDB, where
    /// there is only `wait_timeout`, 40 times as long is (within a minute and a day), since a process that is merely stopped for a while does not answer either. There, and on Oracle, a session that holds
    /// anything is asked for a sign of life every half second. SQL Server and Oracle notice by settings of their own. On SQLite the time within
    /// which a guard, and with it all others of its session, hears that somebody has deleted its lock file.
    pub fn keepalive(mut self, keepalive: Duration) -> Self {
        self.config.keepalive = keepalive;
        self
    }

    /// Runs the sessions on this runtime. Default: the one of the first use. When it ends, guards report their loss and the pool starts anew on the caller's.
    ///
    /// A lock that is dropped is released by a task of this runtime (on SQLite by the drop itself): on a current-thread runtime, when somebody next drives it.
    pub fn runtime(mut self, runtime: runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Opens the sessions with the options of another connection: a direct one, where the application goes through a transaction pooler.
    ///
    /// They are read once, now; a password that is changed on `direct` later needs a new lock pool.
    pub fn sessions_from(mut self, direct: &'a impl Connection) -> Self {
        self.sessions_from = Some(direct.application());
        self
    }

    /// For a pooler that gives each client a server session of its own (`pool_mode = session`).
    ///
    /// dlock recognises its own PostgreSQL session by start-up options, which a pooler does not pass
    /// on; with this setting it sends none. All other checks stay: a pooler that shares sessions is
    /// refused as soon as a statement reaches another session. It has no meaning on other databases.
    /// See the guide's chapter [`poolers`](crate::guide::poolers).
    pub fn trust_session_pooling(mut self) -> Self {
        self.trust_session_pooling = true;
        self
    }

    /// Makes this the lock pool of the connection: of `db.dlock(key)` and [`LockPool::of`]. One that was in its place serves
    /// those who kept a handle of it, and closes when they and its guards are gone. Without a connection it is [`build`](Self::build).
    pub fn install(self) -> LockPool {
        let application = self.base.as_ref().ok().and_then(Base::application);
        let bond = match self.sessions_from {
            None => Bond::Follows,
            Some(_) => Bond::Stays,
        };
        let pool = self.build();
        if let Some(application) = application {
            registry::install(application, pool.clone(), bond);
        }
        pool
    }

    /// A lock pool of its own, which closes when its last handle and its last guard are gone.
    pub fn build(self) -> LockPool {
        LockPool(self.try_build().map(Arc::new))
    }

    fn try_build(self) -> Result<Owner, Error> {
        self.config.check()?;
        let base = self.base?;
        let application = base.application();
        let settings = ConnectSettings {
            keepalive: self.config.keepalive,
            max_sessions: self.config.max_sessions,
            trust_session_pooling: self.trust_session_pooling,
            rules_of: backend::rules,
        };
        let backend = match (self.sessions_from, application) {
            (Some(_), None) => return Err(SESSIONS_FROM_ELSEWHERE),
            (Some(direct), Some(_)) => direct?.backend(settings),
            (None, _) => base.backend(settings),
        };
        if self.config.namespace.is_some() {
            registry::note_namespace(backend.rules().database);
        }
        let closed = application.map(Application::closed);
        let core = Core::new(backend, self.config, self.runtime, closed);
        if application.is_some_and(Application::is_closed) {
            core.engine.begin_close();
        }
        Ok(Owner { core })
    }
}
