//! What a session lock can be taken on.

use sea_orm::{DatabaseConnection, DatabaseTransaction};

use super::{DLockExt, LockPool};

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

impl Lockable for DatabaseConnection {
    fn lock_pool(&self) -> LockPool {
        LockPool::of(self)
    }
}

impl Lockable for LockPool {
    fn lock_pool(&self) -> LockPool {
        self.clone()
    }
}

/// What `.dlock(key)` can be called on. rustc names this trait, or prints these notes, where it is
/// missing.
#[diagnostic::on_unimplemented(
    message = "no lock can be taken on `{Self}`",
    label = "this is not for `{Self}`",
    note = "`.dlock(key)` is for a `DatabaseConnection`, a `DatabaseTransaction`, sqlx's pools (with the feature of their database), and a `LockPool`",
    note = "the connection of a `PinnedGuard` is `&*guard`, where it is an argument",
    note = "a `RestrictedConnection` hides its connection: lock on the `DatabaseConnection` that it was made from"
)]
pub trait ConnectionOrTransaction {}

impl ConnectionOrTransaction for DatabaseConnection {}
impl ConnectionOrTransaction for DatabaseTransaction {}
impl ConnectionOrTransaction for LockPool {}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::LockPool {}
    impl Sealed for sea_orm::DatabaseConnection {}
}

#[cfg(feature = "_sqlx")]
mod sqlx {
    use sea_orm::sqlx::Pool;

    use super::{ConnectionOrTransaction, LockPool, Lockable, sealed};
    use crate::backend::SqlxDatabase;

    impl<DB: SqlxDatabase> ConnectionOrTransaction for Pool<DB> {}
    impl<DB: SqlxDatabase> sealed::Sealed for Pool<DB> {}

    impl<DB: SqlxDatabase> Lockable for Pool<DB> {
        fn lock_pool(&self) -> LockPool {
            LockPool::of(self)
        }
    }
}
