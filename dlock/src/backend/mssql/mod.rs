//! SQL Server: lock pools on application locks. Experimental.
//!
//! SeaORM's open version has no connection to it, so a lock pool opens its own sessions, by
//! [tiberius](https://docs.rs/tiberius), and locks are taken on the pool: `pool.dlock(key)`. Keep
//! it for as long as your service runs: a second pool of the same configuration knows nothing of
//! the first.
//!
//! A lock is an [application lock] of the session, for the principal `public`. It excludes others
//! in the same database only.
//!
//! There are no [pinned](crate::DLock::pinned) locks and no locks of transactions here. Both are
//! [`Error::Unsupported`](crate::Error::Unsupported), or do not compile.
//!
//! [`tiberius`] is re-exported for its `Config`. Its version is part of dlock's own: it changes
//! with a breaking version only.
//!
//! ```no_run
//! # async fn example() -> Result<(), dlock::Error> {
//! use dlock::mssql::MsSql;
//! use dlock::mssql::tiberius::{AuthMethod, Config};
//! use dlock::prelude::*;
//!
//! let mut config = Config::new();
//! config.host("db.example.com");
//! config.database("billing");
//! config.authentication(AuthMethod::sql_server("billing", "secret"));
//!
//! let pool = LockPool::open(MsSql::new(config));
//! let guard = pool.dlock("invoice/42").await?;
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [application lock]: https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql

mod connect;
mod keys;
mod origin;
mod session;
mod socket;
mod statements;

pub use tiberius;

pub use self::origin::MsSql;
