//! A SQL Server, as a lock pool opens it.

use std::fmt;
use std::sync::Arc;

use tiberius::Config;

use super::connect::{MsSqlBackend, Opener};
use crate::backend::origin::{ConnectSettings, Origin};
use crate::backend::seam::Backend;

/// A SQL Server, for [`LockPool::open`](crate::LockPool::open).
#[derive(Clone)]
pub struct MsSql {
    config: Config,
}

impl MsSql {
    /// The server of this configuration.
    ///
    /// Its `command_timeout` and `handshake_timeout` are not used: waits are bounded by
    /// [`timeout`](crate::DLock::timeout), the rest by
    /// [`keepalive`](crate::LockPoolBuilder::keepalive). The session is encrypted unless the
    /// configuration says otherwise.
    ///
    /// The configuration is kept for later sessions: an `AuthMethod::AADToken` that expires needs a
    /// new pool before that.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl fmt::Debug for MsSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsSql").finish_non_exhaustive()
    }
}

#[allow(private_interfaces, reason = "nobody outside implements it")]
impl Origin for MsSql {
    fn backend(&self, settings: ConnectSettings) -> Arc<dyn Backend> {
        let mut config = self.config.clone();
        // Ours: a wait lasts as long as it is to, and a statement that takes too long ends the
        // session.
        config.command_timeout(None);
        config.handshake_timeout(None);
        Arc::new(MsSqlBackend {
            limit: settings.keepalive,
            opener: Arc::new(Opener::new(config, settings.keepalive)),
        })
    }
}
