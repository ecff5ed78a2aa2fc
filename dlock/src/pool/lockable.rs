//! What a session lock can be taken on.

use super::LockPool;
use crate::orm::DLockExt;

/// What can take a lock that lives apart from any transaction: a connection or a lock pool.
///
/// The bound of code that is generic over connections is [`Connection`](crate::Connection), which
/// includes this one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` needs `.xact()`: session locks need a connection",
    label = "`.xact()` is missing before this, or the bound `dlock::Connection` of the type",
    note = "`txn.dlock(key).xact().await?` holds the lock until this transaction commits or rolls back",
    note = "in `#[with_dlock(..)]` say `xact`",
    note = "`db.dlock(key).await?` on the connection itself holds it until its guard is released",
    note = "code over any connection: `C: dlock::Connection`, beside `C: ConnectionTrait` for its statements; transactions use `.xact()`"
)]
pub trait Lockable: sealed::Sealed + DLockExt + Sync {
    #[doc(hidden)]
    fn lock_pool(&self) -> LockPool;
}

impl Lockable for sea_orm::DatabaseConnection {
    fn lock_pool(&self) -> LockPool {
        LockPool::of(self)
    }
}

#[cfg(feature = "mysql")]
impl Lockable for sea_orm::sqlx::MySqlPool {
    fn lock_pool(&self) -> LockPool {
        LockPool::of(self)
    }
}

#[cfg(feature = "postgres")]
impl Lockable for sea_orm::sqlx::PgPool {
    fn lock_pool(&self) -> LockPool {
        LockPool::of(self)
    }
}

#[cfg(feature = "sqlite")]
impl Lockable for sea_orm::sqlx::SqlitePool {
    fn lock_pool(&self) -> LockPool {
        LockPool::of(self)
    }
}

impl Lockable for LockPool {
    fn lock_pool(&self) -> LockPool {
        self.clone()
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::LockPool {}
    impl Sealed for sea_orm::DatabaseConnection {}
    #[cfg(feature = "mysql")]
    impl Sealed for sea_orm::sqlx::MySqlPool {}
    #[cfg(feature = "postgres")]
    impl Sealed for sea_orm::sqlx::PgPool {}
    #[cfg(feature = "sqlite")]
    impl Sealed for sea_orm::sqlx::SqlitePool {}
}
