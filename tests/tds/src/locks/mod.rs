//! The application locks of SQL Server.
//!
//! <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql>

mod app_locks;
mod lock;
mod mode;
mod procedures;
mod table;
mod view;

pub use {
    app_locks::AppLocks,
    mode::Mode,
    view::{Entry, Status},
};
pub(crate) use {procedures::Procedures, table::Resource};
