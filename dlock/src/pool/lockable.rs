//! What a session lock can be taken on.

use super::LockPool;
use crate::session::Connection;

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

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::LockPool {}
    impl<C: super::Connection> Sealed for C {}
}
