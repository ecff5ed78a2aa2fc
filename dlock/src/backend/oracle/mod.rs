//! Oracle: lock pools on user locks. Experimental: no Oracle server was at hand when it was
//! written, so it was never tried on one.
//!
//! SeaORM's open version has no connection to it, so a lock pool opens its own sessions, by
//! [Oracle's driver](https://docs.rs/oracledb), each on a thread of its own, since that driver
//! blocks. Locks are taken on the pool: `pool.dlock(key)`. Keep it for as long as your service
//! runs.
//!
//! A lock is a user lock of [`DBMS_LOCK`] with a number of 30 bits, see [`Key`](crate::Key). The
//! account needs `EXECUTE` on that package. Oracle's own modes are there, too:
//! [`mode`](crate::DLock::mode). There are no [pinned](crate::DLock::pinned) locks and no locks of
//! transactions.
//!
//! The driver is a beta of exactly one version, and cannot bound the server's time while connecting
//! and logging off. A connection that the network swallows then costs a thread until the operating
//! system gives it up; there are at most `max_sessions` + 8 of these. [`oracledb`] is re-exported
//! for its `Config`.
//!
//! ```no_run
//! # async fn example() -> Result<(), dlock::Error> {
//! use dlock::oracle::Oracle;
//! use dlock::oracle::oracledb::Config;
//! use dlock::prelude::*;
//!
//! let config = Config::default().set_credentials("billing", "secret");
//! let config = config.set_connect_string("db.example.com:1521/billing").expect("host:port/service");
//! let pool = LockPool::open(Oracle::new(config));
//! let guard = pool.dlock("invoice/42").await?;
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`DBMS_LOCK`]: https://docs.oracle.com/en/database/oracle/oracle-database/19/arpls/DBMS_LOCK.html

mod connect;
mod driver;
mod keys;
mod origin;
mod session;
mod statements;
#[cfg(test)]
mod tests;
mod thread;

pub use oracledb;

pub use self::origin::Oracle;
