//! SQL Server: application locks, by name, in the current database.

mod connect;
mod session;
mod socket;
mod statements;

pub(crate) use self::connect::MsSqlServer;
