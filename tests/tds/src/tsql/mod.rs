//! As much T-SQL as application locks need: DECLARE, EXEC of their procedures, WHILE, SELECT of expressions, SET, KILL.
//!
//! Stricter than SQL Server: statements are separated by `;`, without comments, and whatever is not known fails.

mod calls;
mod parse;
mod run;
mod statement;
mod token;

pub(crate) use {parse::parse, run::run};

use crate::ServerError;

/// Error 102, for all that is not understood.
fn syntax_error(near: impl std::fmt::Display) -> ServerError {
    ServerError::new(102, 15, format!("Incorrect syntax near '{near}'."))
}
