//! A lock that is held: on a session that it shares with others, or on one of its own.

use std::time::Duration;

use tokio::runtime::Handle;

use super::own::OwnGrant;
use crate::engine::{self, Loss};
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// One guard's lock; gives it back when it is dropped.
#[derive(Debug)]
pub(crate) enum Grant {
    Pooled(engine::Grant),
    Own(Box<OwnGrant>),
}

impl Grant {
    pub(crate) fn key(&self) -> &PhysicalKey {
        match self {
            Self::Pooled(grant) => grant.key(),
            Self::Own(grant) => grant.key(),
        }
    }

    /// The server's number for the session that holds the lock.
    pub(crate) fn session(&self) -> i64 {
        match self {
            Self::Pooled(grant) => grant.session(),
            Self::Own(grant) => grant.session(),
        }
    }

    pub(crate) fn loss(&self) -> &Loss {
        match self {
            Self::Pooled(grant) => grant.loss(),
            Self::Own(grant) => grant.loss(),
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.loss().is_set()
    }

    pub(crate) async fn lost(&self) {
        self.loss().wait().await;
    }

    /// The release is on its way before the first await.
    pub(crate) async fn release(self, name: &Key) -> Result<(), Error> {
        match self {
            Self::Pooled(grant) => {
                let released = grant.release().await;
                released.map_err(|cause| Error::lost(name, cause))
            }
            Self::Own(grant) => (*grant).release(name).await,
        }
    }

    /// The lock becomes a stronger one. Returns its mode.
    pub(crate) async fn upgrade(
        &self,
        name: &Key,
        from: Mode,
        timeout: Option<Duration>,
    ) -> Result<Mode, Error> {
        let to = match self {
            Self::Pooled(grant) => grant.backend().upgraded(from),
            Self::Own(grant) => grant.backend().upgraded(from),
        };
        let to = to?;
        Handle::try_current().map_err(|_| Error::NoRuntime)?;
        match self {
            _ if from == to => {}
            Self::Own(grant) => grant.upgrade(name, to, timeout).await?,
            Self::Pooled(_) => unreachable!("BUG: a lock that can be upgraded has its own session"),
        }
        Ok(to)
    }
}
