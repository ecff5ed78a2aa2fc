//! `db.dlock(key)`: a lock that lives apart from any transaction.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sea_orm::DatabaseTransaction;

use super::{DLockGuard, PinnedLock, TransactionLock};
use crate::error::Error;
use crate::mode::Mode;
use crate::pool::{DLock, LockPool, Lockable};

impl<'a, C> DLock<'a, C> {
    /// Many holders at once, as long as nobody holds it exclusively: [`Mode::Shared`]. On MySQL and MariaDB that is [`Error::Unsupported`], said by whatever takes the lock.
    pub fn shared(self) -> Self {
        self.mode(Mode::Shared)
    }

    /// One holder at a time, and readers beside it. It can be [upgraded](DLockGuard::upgrade) to an
    /// exclusive lock: a task that reads first and perhaps writes then keeps other writers out, and
    /// keeps readers out only while it writes. SQL Server only, elsewhere [`Error::Unsupported`].
    ///
    /// Each update lock has a session of its own, like a [pinned](Self::pinned) lock, since the
    /// server waits on it for the upgrade. At most
    /// [`max_pinned_sessions`](crate::LockPoolBuilder::max_pinned_sessions) are open at a time,
    /// those of waiters included. So holders that ask for a second such lock need a timeout:
    /// waiters may have all sessions. The server alone orders waiters for such locks and for
    /// others, also those of one process.
    pub fn update(self) -> Self {
        self.mode(Mode::Update)
    }

    /// Any [`Mode`], or [`OracleMode`](crate::OracleMode). One that the database does not have is [`Error::Unsupported`], said by whatever takes the lock.
    pub fn mode(mut self, mode: impl Into<Mode>) -> Self {
        self.mode = mode.into();
        self.acquire = None;
        self
    }

    /// Gives up after this long, end to end: queueing, connecting, the server's wait and the network. Zero means one try.
    ///
    /// The server is not waited for in the last 10 ms, so that it gives the lock to nobody who has given up: a lock that another process releases just then is not got.
    ///
    /// Without it the pool's [`default_timeout`](crate::LockPoolBuilder::default_timeout) counts, or the wait has no end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self.acquire = None;
        self
    }

    /// Waits without end, whatever the pool's [`default_timeout`](crate::LockPoolBuilder::default_timeout): for a leader, say.
    pub fn no_timeout(self) -> Self {
        self.timeout(Duration::MAX)
    }

    pub(super) fn lock_pool(&self) -> LockPool
    where
        C: Lockable,
    {
        self.on.lock_pool()
    }

    /// Waits for the lock; the same as `.await`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when it was not got in time, [`Error::Database`] when no session could be opened by then. [`Error::InvalidKey`], [`Error::Unsupported`] and [`Error::InvalidSetting`] when this can never work.
    /// [`Error::PoolClosed`] when the connection or its pool was closed, [`Error::Database`] when the database fails, and on SQL Server and Oracle [`Error::Deadlock`] when the server
    /// says so. Nothing is held after an error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point leaves nothing held.
    pub async fn acquire(self) -> Result<DLockGuard, Error>
    where
        C: Lockable,
    {
        self.await
    }

    /// One try: `None` when another holder has the lock, or another waiter of this process stands first in line for it. A [`timeout`](Self::timeout) bounds the try itself.
    ///
    /// The guard inside of the `Some` is the lock: `.is_some()` and `Some(_)` drop it, and the lock with it.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point leaves nothing held.
    pub async fn try_acquire(self) -> Result<Option<DLockGuard>, Error>
    where
        C: Lockable,
    {
        let pool = self.lock_pool();
        let Self {
            key,
            mode,
            timeout,
            acquire,
            ..
        } = self;
        // One that has been begun would stand in the way.
        drop(acquire);
        let grant = pool.acquire(&key, mode, timeout, true).await?;
        Ok(grant.map(|grant| DLockGuard::new(key, mode, grant)))
    }

    /// Holds the lock on a session of its own. The guard is a connection on that session, so
    /// uncommitted work ends with the lock.
    ///
    /// Each lock and each waiter costs a connection, at most
    /// [`max_pinned_sessions`](crate::LockPoolBuilder::max_pinned_sessions) at a time; plain locks
    /// share theirs. For loss, release and per-database behaviour see
    /// [`PinnedGuard`](crate::PinnedGuard).
    ///
    /// Nothing happens before the [`PinnedLock`] is awaited.
    pub fn pinned(self) -> PinnedLock
    where
        C: Lockable,
    {
        PinnedLock::new(self)
    }
}

/// Waits for the lock. It is a future itself, and not only `IntoFuture`, so that rustc can say what is wrong when a transaction's lock is awaited.
impl<C: Lockable> Future for DLock<'_, C> {
    type Output = Result<DLockGuard, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.acquire.is_none() {
            let begun = (self.lock_pool()).acquiring(self.mode, self.timeout, false);
            self.acquire = Some(begun?);
        }
        let Self {
            key, mode, acquire, ..
        } = &mut *self;
        let acquire = acquire.as_mut().expect("BUG: it was begun");
        let answer = match ready!(acquire.poll(key, context))? {
            Some(grant) => Ok(DLockGuard::new(key.clone(), *mode, grant)),
            // A timeout of zero.
            None => Err(acquire.timed_out(key)),
        };
        Poll::Ready(answer)
    }
}

impl<'a> DLock<'a, DatabaseTransaction> {
    /// A lock that this transaction holds until it commits or rolls back.
    ///
    /// PostgreSQL only; elsewhere [`Error::Unsupported`], and `db.dlock(key).transaction(..)` is the way.
    ///
    /// It is a statement of this transaction, also when that is one of a `MockDatabase` (of PostgreSQL): the mock logs it and takes its answer from the test's
    /// results, `MockExecResult { rows_affected: 1, .. }` for a lock that is got; without one it is [`Error::Unsupported`].
    pub fn xact(self) -> TransactionLock<'a> {
        TransactionLock::new(self)
    }

    /// The settings of this connection's lock pool count for the lock, too: its [`namespace`](crate::LockPoolBuilder::namespace) and its
    /// [`default_timeout`](crate::LockPoolBuilder::default_timeout). SeaORM's transaction does not show which connection it came from.
    ///
    /// Where a pool has a namespace, `db.dlock("k")` and `txn.dlock("k").xact()` exclude each other only with it.
    ///
    /// ```no_run
    /// # use dlock::prelude::*;
    /// # use sea_orm::TransactionTrait;
    /// # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), sea_orm::DbErr> {
    /// let txn = db.begin().await?;
    /// txn.dlock("invoice/42").settings_of(&db).xact().await?;
    /// txn.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn settings_of(mut self, db: &impl Lockable) -> Self {
        self.settings = Some(db.lock_pool());
        self
    }
}
