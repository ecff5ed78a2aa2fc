//! A lock that is held.

use std::fmt;
use std::time::Duration;

use super::DLockUpgrade;
use super::held::Held;
use super::run::Guard;
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::pool::Grant;

/// A lock that is held, until [`release`](Self::release) or drop.
///
/// Dropping it releases the lock: on any thread, with or without a runtime, also while panicking. It never blocks on the database: the release is carried out
/// by the lock pool's own task, on SQLite by the drop itself.
///
/// # Traps
///
/// These drop the guard at once and hold nothing; the event `dlock: released` with a `held` of some microseconds shows it:
///
/// ```no_run
/// # use dlock::prelude::*;
/// # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), dlock::Error> {
/// let _ = db.dlock("a").await?;                             // `let _guard = ..` holds it
/// if db.dlock("b").try_acquire().await?.is_some() {}        // `if let Some(guard) = ..`
/// let Some(_) = db.dlock("c").try_acquire().await? else {   // `let Some(_guard) = ..`
///     return Ok(());
/// };
/// # Ok(())
/// # }
/// ```
///
/// It is `Send + Sync + 'static` and needs neither the connection nor the builder to live.
#[must_use = "a guard that is dropped releases its lock at once"]
pub struct DLockGuard(Held<Grant>);

impl fmt::Debug for DLockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DLockGuard").field(&self.0).finish()
    }
}

impl DLockGuard {
    pub(crate) fn new(key: Key, mode: Mode, grant: Grant) -> Self {
        Self(Held::begin(key, mode, grant))
    }

    /// The key as it was asked for.
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// What the server knows the lock by; its text is what to look for on the server.
    pub fn physical_key(&self) -> &PhysicalKey {
        self.0.grant().key()
    }

    /// How it is held.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Whether the lock is still held, as far as is known: `false` once its session is known to be lost.
    pub fn is_held(&self) -> bool {
        self.0.grant().is_held()
    }

    /// Resolves when the lock is lost with its session, and never before: within a second when the server or a proxy closes the connection, within the pool's
    /// [`keepalive`](crate::LockPoolBuilder::keepalive) when the network goes silent.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again; it changes nothing.
    pub async fn lost(&self) {
        self.0.grant().lost().await;
    }

    /// Makes an [update](crate::DLock::update) lock an exclusive one, as soon as the readers beside
    /// it have left. SQL Server only.
    ///
    /// The server waits, in slices of 2 s: new readers wait behind the upgrade. Readers that wait
    /// at the end of a slice may get the lock before the next slice begins.
    ///
    /// Nothing happens before the [`DLockUpgrade`] is awaited.
    pub fn upgrade(&mut self) -> DLockUpgrade<'_> {
        DLockUpgrade::new(self)
    }

    pub(super) async fn upgrade_within(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let Held { key, mode, .. } = &self.0;
        let upgrading = self.0.grant().upgrade(key, *mode, timeout);
        self.0.mode = upgrading.await?;
        Ok(())
    }

    /// Gives the lock back and waits until the server has confirmed it, or a task of this process has taken it over.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the session was lost before the server confirmed: from some moment on the lock was not held any more.
    ///
    /// # Cancel safety
    ///
    /// The release is on its way before the first await; dropping the future only drops the answer.
    pub async fn release(self) -> Result<(), Error> {
        self.0.release_by(Grant::release).await
    }
}

impl Guard for DLockGuard {
    fn key(&self) -> &Key {
        self.key()
    }

    fn lost(&self) -> impl Future<Output = ()> + Send {
        self.lost()
    }

    fn loss(&self) -> Error {
        self.0.loss()
    }

    fn release(self) -> impl Future<Output = Result<(), Error>> + Send {
        self.release()
    }
}
