//! A distributed lock for Rust services that already have a database.

mod dialect;
mod error;
mod ext;
mod key;
mod lock;
mod mode;
mod pool;
pub mod prelude;
mod session;
mod wait;

pub use self::error::{Error, Phase};
pub use self::ext::{Connection, DLockExt, Lockable};
pub use self::key::{Key, PhysicalKey};
pub use self::lock::{DLock, DLockGuard, TransactionLock};
pub use self::mode::Mode;
pub use self::pool::{Counters, Holder, LockPool, LockPoolBuilder, ServerLock, Status};
