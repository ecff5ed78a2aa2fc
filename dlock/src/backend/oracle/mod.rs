//! Oracle: user locks of `DBMS_LOCK`, by number.

mod connect;
mod driver;
mod session;
mod statements;
#[cfg(test)]
mod tests;
mod thread;

pub(crate) use self::connect::OracleServer;
