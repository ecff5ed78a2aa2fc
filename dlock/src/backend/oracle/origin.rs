//! An Oracle database, as a lock pool opens it.

use std::fmt;
use std::sync::Arc;

use oracledb::Config;

use super::connect::OracleBackend;
use crate::backend::origin::{ConnectSettings, Origin};
use crate::backend::seam::Backend;

/// An Oracle database, for [`LockPool::open`](crate::LockPool::open).
#[derive(Clone)]
pub struct Oracle {
    config: Config,
}

impl Oracle {
    /// The database of this configuration.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oracle").finish_non_exhaustive()
    }
}

#[allow(private_interfaces, reason = "nobody outside implements it")]
impl Origin for Oracle {
    fn backend(&self, settings: ConnectSettings) -> Arc<dyn Backend> {
        Arc::new(OracleBackend::new(self.config.clone(), settings))
    }
}
