//! Oracle: user locks of `DBMS_LOCK`, by number.
//! <https://docs.oracle.com/en/database/oracle/oracle-database/19/arpls/DBMS_LOCK.html>

mod connect;
mod driver;
mod keys;
mod session;
mod statements;
#[cfg(test)]
mod tests;
mod thread;

pub(crate) use self::connect::OracleServer;
