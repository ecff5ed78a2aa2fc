//! SQLite: it has no locks for applications, so they are files beside the database.

mod connect;
mod files;
mod keys;

pub(crate) use self::keys::Sqlite;
