//! The way in: `.dlock(key)` on what people already have in their hands.

use crate::key::Key;
use crate::lock::DLock;
use crate::pool::ConnectionOrTransaction;

/// Adds [`dlock`](Self::dlock) to SeaORM's [`DatabaseConnection`](sea_orm::DatabaseConnection) and [`DatabaseTransaction`](sea_orm::DatabaseTransaction), to sqlx's pools, and to [`LockPool`](crate::LockPool).
///
/// What kind of connection it is shows when it is asked for a lock. One of SeaORM's `MockDatabase` locks within the process and runs no statement (see [`LockPool`](crate::LockPool));
/// one that is disconnected, a proxy, by rusqlite, or of a database whose feature is off is [`Error::Unsupported`](crate::Error::Unsupported), which names the way out.
/// SeaORM's `RestrictedConnection` has no `dlock`: it hides its connection, so lock on the one that it was made from.
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
    /// Awaited on a connection, it waits for an exclusive lock. On a transaction say [`xact`](DLock::xact) first.
    fn dlock(&self, key: impl Into<Key>) -> DLock<'_, Self>
    where
        Self: Sized,
    {
        DLock::new(self, key.into())
    }
}

impl<C: ConnectionOrTransaction> DLockExt for C {}
