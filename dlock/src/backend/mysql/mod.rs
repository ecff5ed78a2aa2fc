//! MySQL and MariaDB: user-level locks, by name, in the whole server.

mod connect;
mod group;
mod identity;
mod keys;
mod listing;
mod session;
mod statements;

pub(crate) use self::keys::{MySql, names};
