//! SQL Server: application locks, by name, in the current database.
//! <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql>

mod connect;
mod keys;
mod session;
mod socket;
mod statements;

pub(crate) use self::connect::MsSqlServer;
