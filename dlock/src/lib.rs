//! A distributed lock for Rust services that already have a database.
//!
//! ```no_run
//! # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), dlock::Error> {
//! use dlock::prelude::*;
//!
//! let guard = db.dlock("invoice/42").await?; // waits; nobody else has it now, in any process
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Start at [`DLockExt::dlock`] and [`DLock`]; [`LockPool`] is what stands behind. The repository's README says what it is for, what it is not, and what
//! each database does.
//!
//! # For who works on it
//!
//! ```text
//! prelude.rs            what users import
//! ext.rs                DLockExt: .dlock(key)
//! entity.rs             EntityDLockExt, ModelDLockExt: rows of SeaORM's entities
//! compat.rs             keys under which other libraries lock
//! __private.rs          what #[with_dlock] (package `dlock-macros`) expands to calls
//! guide/                chapters of the guide
//! web/                  errors as answers of web services
//!   mod.rs              what clients are told and what is logged
//!   axum.rs, actix.rs   one for each framework
//!   │
//! lock/                 what people build, await and hold
//!   session.rs          DLock: a lock apart from any transaction
//!   transaction.rs      TransactionLock: .xact()
//!   upgrade.rs          DLockUpgrade: guard.upgrade()
//!   run.rs              .run(..), .transaction(..)
//!   guard.rs            DLockGuard
//!   held.rs             what the guards have in common
//!   pinned.rs           PinnedLock: .pinned()
//!   pinned_guard.rs     PinnedGuard, a connection of SeaORM
//!   │
//! pool/                 one local queue per key, locks multiplexed onto few sessions; knows no backend
//!   mod.rs              LockPool, its handle
//!   builder.rs          LockPoolBuilder
//!   registry.rs         which pool belongs to which connection
//!   lockable.rs         what a session lock can be taken on
//!   acquiring.rs        a request, from its start to its grant or its deadline
//!   ticket.rs           a caller's place in a queue and its grant: RAII, no socket
//!   core.rs             the mutex around the state, the way into the runtime
//!   worker.rs           the task that owns one session; alarm.rs is its clock
//!   exclusion.rs        what two sessions of the pool try once
//!   keeper.rs           the task that retries, tells of long waits, and closes with the application
//!   state.rs            the state: all changes are synchronous methods,
//!     demand.rs           what callers do to it,
//!     supply.rs           what sessions do to it,
//!     jobs.rs             what a session does next,
//!     loss.rs             how sessions end
//!   pinned.rs           locks on sessions of their own: who asks for one;
//!     pinned/task.rs      the task that owns the session: until it has the lock,
//!     pinned/hold.rs      and from then on,
//!     pinned/beside.rs    that of a connection beside a lock, where no session holds locks,
//!     pinned/book.rs      what the state knows of them
//!   upgrades.rs         locks that are held and are to become stronger
//!   queue.rs, sessions.rs, retries.rs   its data: one key, one session, keys in back-off
//!   status.rs, config.rs    what it shows, how it was built
//!   tests/              the pool alone, on a server in memory, with faults and paused time
//!   │
//! session/              one session on one server
//!   mod.rs              the seam: trait Session, trait Connector
//!   application.rs      where sessions come from: the application's connection, which they imitate, or a server
//!   one_database.rs     all of a pool are in one database
//!   one_server.rs       all live ones of a pool are on one server
//!   probe.rs            whether a server locks at all
//!   trouble.rs          why a session that is being opened is not there yet
//!   alone.rs            servers that SeaORM has no connection to; doubt.rs is what ends a session there
//!   sqlx.rs             what the pools of sqlx have in common; sqlx/open.rs opens like one of the application's,
//!                       sqlx/pinned.rs shares a session with the one who works on it
//!   postgres.rs         PostgreSQL; postgres/connect.rs opens and refuses
//!   mysql.rs            MySQL and MariaDB; mysql/connect.rs opens and refuses, mysql/listing.rs lists, mysql/group.rs
//!                       watches the replication group
//!   mssql.rs            SQL Server by tiberius; mssql/connect.rs opens and refuses, mssql/socket.rs is watched while idle
//!   oracle.rs           Oracle; oracle/connect.rs opens and refuses, oracle/driver.rs is its driver, which blocks, oracle/thread.rs the thread for it
//!   sqlite.rs           SQLite: where the database is
//!   local.rs            a session without a server; local/files.rs, local/memory.rs are where its locks are
//!                       local/files/probe.rs tries the file system, local/files/sole_name.rs refuses other names of a database
//!   mock.rs             SeaORM's MockDatabase
//!   unlockable.rs       connections that cannot lock
//!   │
//! dialect/              pure functions: request → statement
//!   mod.rs              what the layers above ask
//!   postgres.rs         advisory locks; postgres/identity.rs is the proof of a session, which each
//!                       of postgres/batch.rs, wait.rs has in it; postgres/transaction.rs, listing.rs;
//!                       postgres/slice.rs is how long a statement waits
//!   mysql.rs            user-level locks: which of the two servers, names; mysql/identity.rs is the
//!                       proof of a session, mysql/statements.rs
//!   mssql.rs            application locks
//!   oracle.rs           user locks of DBMS_LOCK
//!   digest.rs           BLAKE2b as a number
//!   sqlite.rs           names of files
//!   left_out.rs         those whose feature is off
//!   │
//! key.rs  mode.rs  wait.rs  error.rs  server_lock.rs    small types that all share
//!   key/row.rs          what a row is called
//! ```
//!
//! Imports point down from layer to layer only. A database is one file in `dialect/` and one in `session/`; the rest are lines: a `mod` in each of the two folders, an
//! arm in `session/application.rs` for what it looks like in SeaORM, an arm in `dialect/mod.rs` for its mock, another if it has transaction locks, a variant of `PhysicalKey` if its keys
//! are of a new kind, its absence in `dialect/left_out.rs` and `session/unlockable.rs`, and the names of its sqlx pool in `ext.rs`, `pool/lockable.rs` and `session/application.rs`. One that
//! SeaORM has no connection to needs less: a `mod` in each of the two folders, and its constructors in `pool/mod.rs` and `pool/builder.rs`.

#![cfg_attr(
    not(feature = "_database"),
    allow(dead_code, reason = "without a database there is nothing to lock on")
)]

#[doc(hidden)]
pub mod __private;
mod backend;
mod error;
pub mod guide;
mod key;
mod lock;
mod mode;
mod orm;
mod pool;
pub mod prelude;
mod server_lock;
mod wait;

#[cfg(feature = "postgres")]
pub use self::backend::postgres::compat;
pub use self::error::{Error, HeldBy, LossCause, Phase};
pub use self::key::{Key, PhysicalKey};
pub use self::lock::{DLock, DLockGuard, DLockUpgrade, PinnedGuard, PinnedLock, TransactionLock};
pub use self::mode::{Mode, OracleMode};
pub use self::orm::{DLockExt, EntityDLockExt, ModelDLockExt};
pub use self::pool::{Connection, Counters, LockPool, LockPoolBuilder, Lockable, Status};
pub use self::server_lock::{Holder, ServerLock};
#[cfg(feature = "macros")]
#[doc(inline)]
pub use dlock_macros::with_dlock;
/// The driver of Oracle, for its `Config`.
#[cfg(feature = "oracle")]
pub use oracledb;
/// The driver of SQL Server, for its `Config`.
#[cfg(feature = "mssql")]
pub use tiberius;

/// The README's examples are compiled.
#[cfg(all(
    doctest,
    feature = "actix-web",
    feature = "axum",
    feature = "macros",
    feature = "mock",
    feature = "mssql",
    feature = "oracle",
    feature = "postgres",
))]
#[doc = include_str!("../../README.md")]
struct Readme;
