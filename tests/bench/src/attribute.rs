//! One function twice: with `#[with_dlock]`, and written by hand.

use dlock::{DLockExt, Error, with_dlock};
use sea_orm::DatabaseConnection;

/// What users write.
///
/// # Errors
///
/// Those of the lock.
#[with_dlock(key = "call/{number}")]
pub async fn by_attribute(db: &DatabaseConnection, number: u64) -> Result<u64, Error> {
    let _ = db;
    Ok(number)
}

/// What they would write without it.
///
/// # Errors
///
/// Those of the lock.
pub async fn by_hand(db: &DatabaseConnection, number: u64) -> Result<u64, Error> {
    let lock = db.dlock(format!("call/{number}"));
    lock.run(async |_lock| Ok(number)).await
}
