//! [`Error`] as SeaORM's error.

use sea_orm::DbErr;

use crate::error::Error;

/// So that functions that return `DbErr` can use `?`: a database error stays itself, everything
/// else becomes `DbErr::Custom`.
impl From<Error> for DbErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Database { source, .. } => source,
            other => DbErr::Custom(other.to_string()),
        }
    }
}
