//! MySQL and MariaDB: user-level locks, by name, in the whole server.
//! <https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html>,
//! <https://mariadb.com/docs/server/reference/sql-functions/secondary-functions/miscellaneous-functions/get_lock>

mod connect;
mod exchange;
mod group;
mod identity;
mod keys;
mod listing;
mod misdirected;
mod orm;
mod session;
mod statements;
mod variables;
mod watch_group;

pub(crate) use self::orm::MySql;
