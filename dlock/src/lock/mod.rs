//! What people build, await and hold.

mod guard;
mod run;
mod session;
mod transaction;

pub use self::guard::DLockGuard;
pub use self::session::DLock;
pub use self::transaction::TransactionLock;
