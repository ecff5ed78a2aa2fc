//! The server's list of its locks.

use sea_orm::sqlx::postgres::PgRow;
use sea_orm::sqlx::{self, Row};

use super::statements;
use crate::mode::Mode;
use crate::server_lock::{Holder, ServerLock};

/// A row of [`locks`](statements::locks); `None` if a column is NULL that identifies the lock.
pub(super) fn lock(row: &PgRow) -> Result<Option<ServerLock>, sqlx::Error> {
    let (key, is_pair): (Option<i64>, Option<bool>) = (row.try_get(3)?, row.try_get(4)?);
    let is_shared: Option<bool> = row.try_get(5)?;
    let granted: Option<bool> = row.try_get(6)?;
    let (Some(key), Some(is_pair), Some(is_shared), Some(granted)) =
        (key, is_pair, is_shared, granted)
    else {
        return Ok(None);
    };
    let mode = match is_shared {
        true => Mode::Shared,
        false => Mode::Exclusive,
    };
    let key = statements::unpacked(key, is_pair);
    Ok(Some(ServerLock {
        granted,
        ..ServerLock::held(key, mode, holder(row)?)
    }))
}

/// The first columns of a row of [`locks`](statements::locks) or
/// [`holder_of`](statements::holder_of).
pub(super) fn holder(row: &PgRow) -> Result<Holder, sqlx::Error> {
    let process: Option<i32> = row.try_get(0)?;
    let application: Option<String> = row.try_get(1)?;
    let prepared: Option<String> = row.try_get(2)?;
    let application = match prepared {
        Some(name) => format!("prepared transaction '{name}'"),
        None => application.unwrap_or_default(),
    };
    Ok(Holder {
        session: process.map_or(0, i64::from),
        application,
    })
}
