//! SQLite: it has no locks for applications, so they are files beside the database.

mod connect;
mod files;
mod keys;
mod orm;
mod statements;

pub(crate) use self::orm::Sqlite;
