//! `use dlock::prelude::*;`

pub use crate::{DLockExt, DLockGuard, Key, LockPool, PinnedGuard};
#[cfg(feature = "macros")]
pub use dlock_macros::with_dlock;
