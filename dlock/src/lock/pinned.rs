//! `db.dlock(key).pinned()`: a lock whose guard is the connection to work with.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::PinnedGuard;
use super::run::hold_around;
use crate::error::Error;
use crate::key::Key;
use crate::mode::Mode;
use crate::pool::DLock;
use crate::pool::{LockPool, Lockable};

/// A pinned lock that is asked for; made by [`DLock::pinned`].
#[derive(Debug)]
#[must_use = "a lock does nothing unless it is awaited"]
pub struct PinnedLock {
    pool: LockPool,
    key: Key,
    mode: Mode,
    timeout: Option<Duration>,
}

impl PinnedLock {
    pub(super) fn new<C: Lockable>(lock: DLock<'_, C>) -> Self {
        Self {
            pool: lock.lock_pool(),
            key: lock.key,
            mode: lock.mode,
            timeout: lock.timeout,
        }
    }

    /// Many holders at once, as long as nobody holds it exclusively; see [`DLock::shared`].
    pub fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    /// Gives up after this long, end to end: the turn to have a session, connecting, and all that [`DLock::timeout`] covers. Zero means one try.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits without end; see [`DLock::no_timeout`].
    pub fn no_timeout(self) -> Self {
        self.timeout(Duration::MAX)
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
        let (pool, key, mode) = (self.pool.clone(), self.key.clone(), self.mode);
        let started = Instant::now();
        match self.ask(false).await? {
            Some(guard) => Ok(guard),
            // A timeout of zero.
            None => Err(Error::Timeout {
                held_by: pool.held_by(&key, mode),
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
        let Self {
            pool,
            key,
            mode,
            timeout,
        } = self;
        let grant = pool.acquire_pinned(&key, mode, timeout, one_try).await?;
        Ok(grant.map(|grant| PinnedGuard::new(key, mode, grant)))
    }

    /// Holds the lock around `body`, which works on the session of the lock; see [`DLock::run`].
    ///
    /// When the lock is lost the body is dropped at its next await. A body at work on the session
    /// learns of its loss by its next statement, which fails: see [`PinnedGuard::lost`].
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

impl IntoFuture for PinnedLock {
    type Output = Result<PinnedGuard, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.acquire())
    }
}
