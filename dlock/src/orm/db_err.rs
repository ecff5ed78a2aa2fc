//! [`Error`] as SeaORM's error.

use sea_orm::DbErr;

use crate::error::Error;

/// So that functions that return `DbErr` can use `?`: a database error stays itself, everything
/// else becomes `DbErr::Custom`.
impl From<Error> for DbErr {
    fn from(error: Error) -> Self {
        error.into_db_err()
    }
}
