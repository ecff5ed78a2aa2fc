//! What the attribute `#[with_dlock]` expands to calls: for nobody else, and it may change with any version.

use std::fmt;

use sea_orm::DatabaseConnection;

pub use crate::lock::{lost, released, unless_lost};

use crate::error::Error;
use crate::key::Key;
use crate::lock::PinnedGuard;
use crate::pool::DLock;
use crate::pool::DLockExt;
use crate::pool::{LockPool, Lockable};

/// `.dlock(key)` by a name that no entity has, so that rustc says of what no lock can be taken on.
pub trait LockedOn: DLockExt {
    fn __dlock(&self, key: Key) -> DLock<'_, Self>
    where
        Self: Sized,
    {
        self.dlock(key)
    }
}

impl<C: DLockExt> LockedOn for C {}

/// The pool to lock on in a function that is generic over its connection. The result is no generic
/// type, so rustc reports the missing bound once.
pub fn pool_of<C: Lockable>(connection: &C) -> LockPool {
    connection.lock_pool()
}

/// A key that has nothing to fill in is not formatted.
pub fn key(text: fmt::Arguments<'_>) -> Key {
    match text.as_str() {
        Some(text) => text.into(),
        None => fmt::format(text).into(),
    }
}

/// The same as `into`, with a better word from rustc when it is none.
pub fn into_key(key: impl Into<Key>) -> Key {
    key.into()
}

/// Tells rustc what a body returns; never called.
pub fn never<T>() -> T {
    unreachable!("BUG: this is behind `if false`")
}

/// What a function returns when there is no lock to run its body under.
pub fn failed<R: FromLockError>(error: Error) -> R {
    R::from_lock_error(error)
}

/// The same, as `on_error` says it.
pub fn on_error<R>(error: Error, on_error: impl FnOnce(Error) -> R) -> R {
    on_error(error)
}

/// What a function with `#[with_dlock]` can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say that the lock was not got",
    label = "this is what is returned when the lock is not got, or lost",
    note = "return a `Result` whose error is `From<dlock::Error>`",
    note = "or say how: `#[with_dlock(.., on_error = |error| ..)]`"
)]
pub trait FromLockError {
    fn from_lock_error(error: Error) -> Self;
}

impl<T, E: From<Error>> FromLockError for Result<T, E> {
    fn from_lock_error(error: Error) -> Self {
        Err(error.into())
    }
}

/// What is called `db` in the body of a pinned lock.
pub fn in_the_place_of<'a, C: Pinnable>(_: &C, guard: &'a PinnedGuard) -> C::Pinned<'a> {
    C::pinned(guard)
}

/// What can be replaced by the session of a pinned lock.
#[diagnostic::on_unimplemented(
    message = "with `pinned` the body works on the lock's own session, which cannot take the place of a `{Self}`",
    label = "this is not a connection itself",
    note = "name the connection, for example `db = db.as_ref()`: in the body the session is then called `db`, a `&DatabaseConnection`",
    note = "a lock on a transaction is on that one's session already: say `xact` in the place of `pinned`"
)]
pub trait Pinnable {
    type Pinned<'a>;

    fn pinned(guard: &PinnedGuard) -> Self::Pinned<'_>;
}

impl Pinnable for DatabaseConnection {
    type Pinned<'a> = Self;

    fn pinned(guard: &PinnedGuard) -> Self {
        DatabaseConnection::clone(guard)
    }
}

impl Pinnable for &DatabaseConnection {
    type Pinned<'a> = &'a DatabaseConnection;

    fn pinned(guard: &PinnedGuard) -> &DatabaseConnection {
        guard
    }
}

impl Pinnable for LockPool {
    type Pinned<'a> = &'a DatabaseConnection;

    fn pinned(guard: &PinnedGuard) -> &DatabaseConnection {
        guard
    }
}

impl Pinnable for &LockPool {
    type Pinned<'a> = &'a DatabaseConnection;

    fn pinned(guard: &PinnedGuard) -> &DatabaseConnection {
        guard
    }
}
