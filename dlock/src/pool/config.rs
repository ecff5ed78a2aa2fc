//! How a pool was built. Plain values, checked once.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::engine::Settings;
use crate::error::Error;

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) namespace: Option<String>,
    pub(crate) default_timeout: Option<Duration>,
    pub(crate) max_sessions: usize,
    pub(crate) max_pinned_sessions: usize,
    pub(crate) max_locks_per_session: usize,
    pub(crate) max_local_handoffs: u32,
    pub(crate) idle_timeout: Duration,
    pub(crate) keepalive: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: None,
            default_timeout: None,
            max_sessions: 4,
            max_pinned_sessions: 4,
            max_locks_per_session: 512,
            max_local_handoffs: 1024,
            idle_timeout: Duration::from_secs(60),
            keepalive: Duration::from_secs(15),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let invalid = |setting, reason| Err(Error::InvalidSetting { setting, reason });
        if self.max_sessions == 0 {
            return invalid("max_sessions(0)", "a pool needs at least one session");
        }
        if self.max_pinned_sessions == 0 {
            return invalid("max_pinned_sessions(0)", "a pinned lock needs a session");
        }
        if self.max_locks_per_session == 0 {
            return invalid(
                "max_locks_per_session(0)",
                "a session holds at least one lock",
            );
        }
        if self.keepalive < Duration::from_millis(100) {
            return invalid("keepalive(..)", "it is below 100 ms");
        }
        if self.namespace.as_deref() == Some("") {
            return invalid("namespace(\"\")", "it is empty; leave it out instead");
        }
        Ok(())
    }

    /// A silent session is pinged after half of the keepalive, and given up when it has not
    /// answered after the other half.
    pub(super) fn settings(&self) -> Settings {
        let at_least_one = NonZeroUsize::new(self.max_locks_per_session);
        Settings {
            max_sessions: self.max_sessions,
            max_locks_per_session: at_least_one.unwrap_or(NonZeroUsize::MIN),
            max_local_handoffs: self.max_local_handoffs,
            idle_timeout: self.idle_timeout,
            silence: self.keepalive / 2,
        }
    }
}
