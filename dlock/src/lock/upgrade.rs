//! `guard.upgrade()`: a lock that is held becomes a stronger one.

use std::pin::Pin;
use std::time::Duration;

use super::DLockGuard;
use crate::error::Error;

/// A stronger lock that is asked for; made by [`DLockGuard::upgrade`].
#[derive(Debug)]
#[must_use = "a lock does nothing unless it is awaited"]
pub struct DLockUpgrade<'a> {
    guard: &'a mut DLockGuard,
    timeout: Option<Duration>,
}

impl<'a> DLockUpgrade<'a> {
    pub(super) fn new(guard: &'a mut DLockGuard) -> Self {
        Self {
            guard,
            timeout: None,
        }
    }

    /// Gives up after this long. Zero means one try. Without it the pool's
    /// [`default_timeout`](crate::LockPoolBuilder::default_timeout) counts, or the wait has no end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits until the lock is exclusive; the same as `.await`.
    ///
    /// # Errors
    ///
    /// The lock is held as before after [`Error::Timeout`], when readers are still there, and after
    /// [`Error::Deadlock`], when the server ended the wait because of a cycle.
    ///
    /// [`Error::Lost`] when the lock was lost meanwhile. [`Error::Database`] when the server
    /// refused; its session is lost a moment later. [`Error::Unsupported`] on another database than
    /// SQL Server, and for a shared lock. [`Error::NoRuntime`] outside of a tokio runtime. A lock
    /// that is exclusive already stays so.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the lock held at least as before. A request that was sent to the
    /// server by then, also when it ends by its timeout, may still be granted within 2 s; only
    /// readers notice. A release in that time waits for its end.
    pub async fn acquire(self) -> Result<(), Error> {
        self.guard.upgrade_within(self.timeout).await
    }
}

impl<'a> IntoFuture for DLockUpgrade<'a> {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.acquire())
    }
}
