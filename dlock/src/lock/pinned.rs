//! `db.dlock(key).pinned()`: a lock whose guard is the connection to work with.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::run::hold_around;
use super::{DLock, PinnedGuard};
use crate::error::Error;
use crate::pool::Lockable;

/// A pinned lock that is asked for; made by [`DLock::pinned`].
#[must_use = "a lock does nothing unless it is awaited"]
pub struct PinnedLock<'a, C> {
    lock: DLock<'a, C>,
}

impl<C> fmt::Debug for PinnedLock<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PinnedLock").field(&self.lock).finish()
    }
}

impl<'a, C: Lockable> PinnedLock<'a, C> {
    pub(super) fn new(lock: DLock<'a, C>) -> Self {
        Self { lock }
    }

    /// Many holders at once, as long as nobody holds it exclusively; see [`DLock::shared`].
    pub fn shared(mut self) -> Self {
        self.lock = self.lock.shared();
        self
    }

    /// Gives up after this long, end to end: the turn to have a session, connecting, and all that [`DLock::timeout`] covers. Zero means one try.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.lock = self.lock.timeout(timeout);
        self
    }

    /// Waits for the lock; the same as `.await`.
    ///
    /// # Errors
    ///
    /// Those of [`DLock::acquire`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point leaves nothing held.
    pub async fn acquire(self) -> Result<PinnedGuard, Error> {
        let (key, started) = (self.lock.key.clone(), Instant::now());
        match self.ask(false).await? {
            Some(guard) => Ok(guard),
            // A timeout of zero.
            None => Err(Error::Timeout {
                key,
                waited: started.elapsed(),
            }),
        }
    }

    /// One try: `None` when somebody else holds the lock, or all of the pool's [pinned sessions](crate::LockPoolBuilder::max_pinned_sessions) are taken. A
    /// [`timeout`](Self::timeout) bounds the try itself.
    ///
    /// # Errors
    ///
    /// Those of [`DLock::acquire`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point leaves nothing held.
    pub async fn try_acquire(self) -> Result<Option<PinnedGuard>, Error> {
        self.ask(true).await
    }

    async fn ask(self, one_try: bool) -> Result<Option<PinnedGuard>, Error> {
        let DLock {
            on,
            key,
            mode,
            timeout,
            ..
        } = self.lock;
        let pool = on.lock_pool();
        let grant = pool.acquire_pinned(&key, mode, timeout, one_try).await?;
        Ok(grant.map(|grant| PinnedGuard::new(key, mode, grant)))
    }

    /// Holds the lock around `body`, which works on the session of the lock; see [`DLock::run`].
    ///
    /// # Errors
    ///
    /// Those of [`DLock::run`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body first, then the guard.
    pub async fn run<T, E, F>(self, body: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&PinnedGuard) -> Result<T, E>,
        E: From<Error>,
    {
        hold_around(self.acquire().await?, body).await
    }
}

impl<'a, C: Lockable> IntoFuture for PinnedLock<'a, C> {
    type Output = Result<PinnedGuard, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.acquire())
    }
}
