//! Public builders and guards.

mod guard;
mod held;
mod pinned;
mod pinned_guard;
mod run;
mod session;
mod transaction;
mod upgrade;

pub use self::guard::DLockGuard;
pub use self::pinned::PinnedLock;
pub use self::pinned_guard::PinnedGuard;
pub use self::run::{lost, released, unless_lost};
pub use self::transaction::TransactionLock;
pub use self::upgrade::DLockUpgrade;
