//! Errors of PostgreSQL, by their codes.
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

use sea_orm::{DbErr, sqlx};

use crate::backend::sqlx::open::db_err;

pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    match error
        .as_database_error()?
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
    {
        Some(error) => Some(error.code()),
        None => None,
    }
}

/// A transaction that has failed accepts nothing but its end.
pub(super) const IN_FAILED_TRANSACTION: &str = "25P02";

/// An operator has ended the statement.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
pub(super) const QUERY_CANCELED: &str = "57014";

/// A setting that the session does not have.
pub(super) const UNDEFINED_OBJECT: &str = "42704";

/// No room for another lock: what was refused once is not worth another statement.
pub(super) const OUT_OF_MEMORY: &str = "53200";

/// A full lock table hits everybody on the server; the error says which setting to raise.
pub(super) fn explained(error: sqlx::Error) -> DbErr {
    match code(&error) {
        Some(OUT_OF_MEMORY) => DbErr::Custom(format!(
            "{error}: PostgreSQL's lock table is full; raise max_locks_per_transaction (or max_connections), or hold fewer locks"
        )),
        _ => db_err(error),
    }
}
