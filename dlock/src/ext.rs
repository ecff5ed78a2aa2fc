//! The way in: `.dlock(key)` on what people already have in their hands.

use sea_orm::{DatabaseConnection, DatabaseTransaction};

use crate::error::Error;
use crate::key::Key;
use crate::lock::DLock;
use crate::pool::LockPool;
use crate::session::{self, Application};

/// Adds [`dlock`](Self::dlock) to SeaORM's [`DatabaseConnection`] and [`DatabaseTransaction`], to sqlx's pools, and to [`LockPool`].
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
pub trait DLockExt {
    /// A lock on this database; see [`DLock`] for what to do with it.
    ///
    /// Awaited on a connection, it waits for an exclusive lock. On a transaction say [`xact`](DLock::xact) first.
    fn dlock(&self, key: impl Into<Key>) -> DLock<'_, Self>
    where
        Self: Sized,
    {
        DLock::new(self, key.into())
    }
}

impl DLockExt for DatabaseConnection {}
impl DLockExt for DatabaseTransaction {}
impl DLockExt for LockPool {}
#[cfg(feature = "postgres")]
impl DLockExt for sea_orm::sqlx::PgPool {}

/// What can take a lock that lives apart from any transaction: a connection or a lock pool.
#[diagnostic::on_unimplemented(
    message = "a lock on `{Self}` ends with the transaction: say so with `.xact()`",
    label = "`.xact()` is missing before this",
    note = "`txn.dlock(key).xact().await?` holds the lock until this transaction commits or rolls back",
    note = "`db.dlock(key).await?` on the connection itself holds it until its guard is released"
)]
pub trait Lockable: sealed::Sealed + Sync {
    #[doc(hidden)]
    fn lock_pool(&self) -> LockPool;
}

impl<C: Connection + Sync> Lockable for C {
    fn lock_pool(&self) -> LockPool {
        LockPool::of(self)
    }
}

impl Lockable for LockPool {
    fn lock_pool(&self) -> LockPool {
        self.clone()
    }
}

/// A connection of the application: what has a [`LockPool`] of its own and begins transactions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no connection of its own",
    note = "use the `DatabaseConnection`, or sqlx's pool"
)]
pub trait Connection: sealed::Connection {}

impl<C: sealed::Connection> Connection for C {}

pub(crate) mod sealed {
    use super::{Application, Error, LockPool};
    use sea_orm::DatabaseConnection;

    pub trait Sealed {}

    impl Sealed for LockPool {}
    impl<C: Connection> Sealed for C {}

    #[allow(private_interfaces, reason = "nobody outside can name this trait")]
    pub trait Connection {
        fn application(&self) -> Result<&dyn Application, Error>;

        /// The connection as SeaORM sees it.
        fn orm(&self) -> DatabaseConnection;
    }
}

#[allow(private_interfaces, reason = "nobody outside can name this trait")]
impl sealed::Connection for DatabaseConnection {
    fn application(&self) -> Result<&dyn Application, Error> {
        session::application(self)
    }

    fn orm(&self) -> DatabaseConnection {
        self.clone()
    }
}

#[cfg(feature = "postgres")]
#[allow(private_interfaces, reason = "nobody outside can name this trait")]
impl sealed::Connection for sea_orm::sqlx::PgPool {
    fn application(&self) -> Result<&dyn Application, Error> {
        Ok(self)
    }

    fn orm(&self) -> DatabaseConnection {
        self.clone().into()
    }
}
