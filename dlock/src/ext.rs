//! The way in: `.dlock(key)` on what people already have in their hands.

use sea_orm::{DatabaseConnection, DatabaseTransaction};

use crate::key::Key;
use crate::lock::DLock;
use crate::pool::LockPool;

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
#[cfg(feature = "mysql")]
impl DLockExt for sea_orm::sqlx::MySqlPool {}
#[cfg(feature = "postgres")]
impl DLockExt for sea_orm::sqlx::PgPool {}
#[cfg(feature = "sqlite")]
impl DLockExt for sea_orm::sqlx::SqlitePool {}
