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
//! # For contributors
//!
//! ```text
//! prelude.rs       what users import
//! guide/           chapters of the guide
//! __private.rs     what the code that #[with_dlock] (package `dlock-macros`) writes calls
//! orm/             SeaORM: rows of entities, errors as DbErr and as answers of web services
//! lock/            builders and guards: what a DLock can do, DLockGuard, PinnedLock, TransactionLock
//! pool/            LockPool and its builder, the registry of connections, `.dlock(key)`
//!   own/             locks with a session of their own: pinned ones, and those that can be upgraded
//!   tests/           the pool on a server in memory, with faults and paused time
//! engine/          which request is answered when, and by which session. Knows no database
//!   machine/         the pool's state as a pure state machine, with its simulation
//!   driver/          runs the machine: the mutex, a task for each session, timers, channels
//! backend/         the seam to the databases, and the list of them
//!   postgres/        advisory locks; `dlock::compat`
//!   mysql/           user-level locks of MySQL and MariaDB
//!   sqlite/          file locks beside the database
//!   mssql/           application locks of SQL Server, by tiberius
//!   oracle/          user locks of DBMS_LOCK
//!   mock/            SeaORM's MockDatabase
//!   inline/          sessions without a server: sqlite, mock
//!   sqlx/            pools of sqlx: postgres, mysql, sqlite
//!   shared/          what else several databases share
//! key.rs  mode.rs  wait.rs  error.rs  server_lock.rs    vocabulary that all share
//! ```
//!
//! Imports point down: `orm → lock → pool → engine → backend → vocabulary`. A backend imports
//! neither `engine`, `pool`, `lock` nor `orm`, and no other backend.
//!
//! A database is one folder of `backend/`, its lines in `backend/mod.rs`, and its feature in
//! `Cargo.toml`. Deleting these leaves a crate that compiles. A folder has `keys.rs` (its
//! `LockRules`), `statements.rs`, `session.rs` (a `Session`) and `connect.rs` (a `Backend`), and
//! `orm.rs` (an `OrmDatabase`) where SeaORM has connections to the database, else `origin.rs` (an
//! `Origin`). Keys of a new kind are a variant of `PhysicalKey`.

#![cfg_attr(
    not(feature = "_database"),
    allow(dead_code, reason = "without a database there is nothing to lock on")
)]

#[doc(hidden)]
pub mod __private;
mod backend;
mod engine;
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

pub use self::backend::Origin;
#[allow(
    unused_imports,
    unreachable_pub,
    reason = "a build can leave out the databases that have modules of their own"
)]
pub use self::backend::public::*;
pub use self::error::{Error, HeldBy, LossCause, Phase};
pub use self::key::{Key, PhysicalKey};
pub use self::lock::{DLockGuard, DLockUpgrade, PinnedGuard, PinnedLock, TransactionLock};
pub use self::mode::{Mode, OracleMode};
pub use self::orm::{EntityDLockExt, ModelDLockExt};
pub use self::pool::{
    Connection, Counters, DLock, DLockExt, LockPool, LockPoolBuilder, Lockable, Status,
};
pub use self::server_lock::{Holder, ServerLock};
#[cfg(feature = "macros")]
#[doc(inline)]
pub use dlock_macros::with_dlock;
