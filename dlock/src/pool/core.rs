//! A pool: the engine of its shared sessions, and how it was built.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::config::Config;
use crate::backend::{Backend, Closed};
use crate::engine::{Engine, warned};
use crate::error::{Error, HeldBy};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// So many runtimes may end under one wait; on one that has ended already, no session can ever be
/// opened.
pub(super) const MAX_RUNTIMES: usize = 3;

#[derive(Debug)]
pub(crate) struct Core {
    pub(super) engine: Arc<Engine>,
    pub(super) config: Config,
    /// One permit for each session of its own that a lock may have.
    pub(super) own_sessions: Arc<Semaphore>,
}

impl Core {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        config: Config,
        runtime: Option<Handle>,
        application_closed: Option<Closed>,
    ) -> Arc<Self> {
        let own_sessions = config.max_pinned_sessions.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            engine: Engine::new(backend, config.settings(), runtime, application_closed),
            own_sessions: Arc::new(Semaphore::new(own_sessions)),
            config,
        })
    }

    pub(super) fn backend(&self) -> &Arc<dyn Backend> {
        self.engine.backend()
    }

    /// What the server will know this key by; if need be, a session is opened to find out.
    pub(super) async fn physical_key(&self, key: &Key) -> Result<PhysicalKey, Error> {
        for _ in 0..MAX_RUNTIMES {
            if let Some(physical) = self.try_physical_key(key)? {
                return Ok(physical);
            }
            self.engine.meet().await?;
        }
        self.try_physical_key(key)?.ok_or(Error::NoRuntime)
    }

    /// `None`: the server must be known first.
    pub(super) fn try_physical_key(&self, key: &Key) -> Result<Option<PhysicalKey>, Error> {
        let Some(key) = key.repr(|| self.backend().database())? else {
            return Ok(None);
        };
        // The key itself is checked, too: a namespace makes nothing valid.
        let rules = self.backend().rules();
        let plain = rules.physical_key(&key)?;
        match &self.config.namespace {
            Some(namespace) => rules.physical_key(&key.within(namespace)),
            None => Ok(plain),
        }
    }

    /// The holder that keeps a request of this mode waiting, as far as it is known.
    pub(super) fn held_by(&self, key: &Key, mode: Mode) -> Option<HeldBy> {
        let key = self.try_physical_key(key).ok().flatten()?;
        self.engine.held_by(&key, mode)
    }

    /// The error of a request at its deadline: `Timeout` with the holder, or the connection error
    /// of a request that `awaits_session`.
    pub(super) fn timed_out(
        &self,
        name: &Key,
        mode: Mode,
        wait: Wait,
        awaits_session: bool,
    ) -> Error {
        let trouble = match awaits_session {
            true => self.backend().trouble(),
            false => None,
        };
        trouble.unwrap_or_else(|| Error::Timeout {
            key: name.clone(),
            waited: wait.since.elapsed(),
            held_by: self.held_by(name, mode),
        })
    }

    /// How long a request waits.
    pub(super) fn wait(&self, timeout: Option<Duration>, one_try: bool) -> Wait {
        match one_try {
            true => Wait::once(timeout),
            false => Wait::start(timeout.or(self.config.default_timeout)),
        }
    }

    /// [`physical_key`](Self::physical_key), with warnings of a long wait unless the caller does
    /// its own logging.
    pub(super) async fn physical_key_warned(
        &self,
        key: &Key,
        wait: Wait,
    ) -> Result<PhysicalKey, Error> {
        let meeting = pin!(self.physical_key(key));
        match wait.quiet {
            true => meeting.await,
            false => warned(meeting, key, wait, || None).await,
        }
    }
}
