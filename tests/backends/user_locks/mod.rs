//! What MySQL and MariaDB have in common: their tests are written once and mounted for both.

mod contract;
mod server;

pub(crate) use self::contract::UserLocks;
pub(crate) use self::server::{MariaDb, MySql, Server};
