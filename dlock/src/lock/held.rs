//! What the guards have in common: which lock they hold, since when, and on which session.

use std::fmt;
use std::time::Instant;

use crate::error::Error;
use crate::key::Key;
use crate::mode::Mode;
use crate::pool::{Grant, Loss, PinnedGrant};

/// What the pool gives for a lock; dropping it releases.
pub(super) trait Holding {
    /// The server's number for the session that holds it.
    fn session(&self) -> i64;

    fn loss(&self) -> &Loss;
}

impl Holding for Grant {
    fn session(&self) -> i64 {
        self.session()
    }

    fn loss(&self) -> &Loss {
        self.loss()
    }
}

impl Holding for PinnedGrant {
    fn session(&self) -> i64 {
        self.session()
    }

    fn loss(&self) -> &Loss {
        self.loss()
    }
}

/// A lock that is held. It ends by [`release_by`](Self::release_by) or by drop, and is logged then.
pub(super) struct Held<G: Holding> {
    pub(super) key: Key,
    pub(super) mode: Mode,
    since: Instant,
    session: i64,
    /// Until it is released.
    grant: Option<G>,
    /// The release has found that it was lost, which is logged as such.
    is_lost: bool,
}

impl<G: Holding> Held<G> {
    pub(super) fn begin(key: Key, mode: Mode, grant: G) -> Self {
        Self {
            key,
            mode,
            since: Instant::now(),
            session: grant.session(),
            grant: Some(grant),
            is_lost: false,
        }
    }

    pub(super) fn grant(&self) -> &G {
        self.grant.as_ref().expect("BUG: it is not released yet")
    }

    /// Of a lock that is lost.
    pub(super) fn loss(&self) -> Error {
        Error::lost(&self.key, self.grant().loss().cause())
    }

    /// `release` is on its way before the first await.
    pub(super) async fn release_by(
        mut self,
        release: impl AsyncFnOnce(G, &Key) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let grant = self.grant.take().expect("BUG: it is not released yet");
        let released = release(grant, &self.key).await;
        self.is_lost = released.is_err();
        released
    }
}

/// Also when the release is still on its way.
impl<G: Holding> Drop for Held<G> {
    fn drop(&mut self) {
        let is_lost = match self.grant.take() {
            Some(grant) => grant.loss().is_set(),
            None => self.is_lost,
        };
        if !is_lost {
            let Self {
                key,
                mode,
                since,
                session,
                ..
            } = self;
            tracing::debug!(%key, %mode, session, held = ?since.elapsed(), "dlock: released");
        }
    }
}

impl<G: Holding> fmt::Debug for Held<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("key", &self.key)
            .field("mode", &self.mode)
            .field("session", &self.session)
            .field("is_held", &!self.grant().loss().is_set())
            .finish_non_exhaustive()
    }
}
