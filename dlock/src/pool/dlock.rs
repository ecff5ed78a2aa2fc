//! The way in: `.dlock(key)` on a connection, and the lock that it asks for. What can be done with
//! that is in `lock`.

use std::fmt;
use std::time::Duration;

use super::LockPool;
use super::acquiring::Acquiring;
use super::lockable::ConnectionOrTransaction;
use crate::key::Key;
use crate::mode::Mode;

/// Adds [`dlock`](Self::dlock) to SeaORM's [`DatabaseConnection`](sea_orm::DatabaseConnection) and
/// [`DatabaseTransaction`](sea_orm::DatabaseTransaction), to sqlx's pools, and to
/// [`LockPool`](crate::LockPool).
///
/// What kind of connection it is shows when it is asked for a lock. One of SeaORM's `MockDatabase`
/// locks within the process and runs no statement (see [`LockPool`](crate::LockPool)); one that is
/// disconnected, a proxy, by rusqlite, or of a database whose feature is off is
/// [`Error::Unsupported`](crate::Error::Unsupported), which names the way out. SeaORM's
/// `RestrictedConnection` has no `dlock`: it hides its connection, so lock on the one that it was
/// made from.
///
/// ```no_run
/// # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), dlock::Error> {
/// use dlock::prelude::*;
///
/// let guard = db.dlock("invoice/42").await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "no lock can be taken on `{Self}`",
    label = "not a connection",
    note = "`.dlock(key)` is for a `DatabaseConnection`, a `DatabaseTransaction`, sqlx's pools (with the feature of their database), and a `LockPool`",
    note = "a struct that has a connection: lock on its field, for example `state.db`",
    note = "code over any connection: the bound is `C: dlock::Connection`, beside `C: ConnectionTrait` for its statements; transactions use `.xact()`"
)]
pub trait DLockExt {
    /// A lock on this database; see [`DLock`] for what to do with it.
    ///
    /// Awaited on a connection, it waits for an exclusive lock. On a transaction say
    /// [`xact`](DLock::xact) first.
    fn dlock(&self, key: impl Into<Key>) -> DLock<'_, Self>
    where
        Self: Sized,
    {
        DLock::new(self, key.into())
    }
}

impl<C: ConnectionOrTransaction> DLockExt for C {}

/// A lock that is asked for: options first, then one of the ways to hold it.
///
/// | on a connection or a [`LockPool`](crate::LockPool) | |
/// |---|---|
/// | `.await`, [`acquire`](Self::acquire) | waits, gives a [`DLockGuard`](crate::DLockGuard) |
/// | [`try_acquire`](Self::try_acquire) | one try, `None` when somebody else holds it |
/// | [`run`](Self::run) | holds it around a closure |
/// | [`transaction`](Self::transaction) | holds it around a closure and its transaction |
/// | [`pinned`](Self::pinned) | holds it on a session of its own, on which the work is done as well |
///
/// | on a [`DatabaseTransaction`](sea_orm::DatabaseTransaction) | |
/// |---|---|
/// | [`xact`](Self::xact) | holds it until the transaction ends |
///
/// Locks are not re-entrant: asking for a key that the same task already holds waits like for any
/// other holder. The error [`Timeout`](crate::Error::Timeout) and the warning of a long wait say
/// then that this process holds it.
#[must_use = "a lock does nothing unless it is awaited"]
pub struct DLock<'a, C> {
    pub(crate) on: &'a C,
    pub(crate) key: Key,
    pub(crate) mode: Mode,
    pub(crate) timeout: Option<Duration>,
    /// Of a lock that ends with a transaction: the pool whose settings count for it.
    pub(crate) settings: Option<LockPool>,
    /// Begun by the first poll, forgotten when an option changes after that.
    pub(crate) acquire: Option<Acquiring>,
}

impl<C> fmt::Debug for DLock<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DLock")
            .field("key", &self.key)
            .field("mode", &self.mode)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<'a, C> DLock<'a, C> {
    pub(crate) fn new(on: &'a C, key: Key) -> Self {
        Self {
            on,
            key,
            mode: Mode::Exclusive,
            timeout: None,
            settings: None,
            acquire: None,
        }
    }
}
