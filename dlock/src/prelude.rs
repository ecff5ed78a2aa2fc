//! `use dlock::prelude::*;`

pub use crate::{DLockExt, DLockGuard, EntityDLockExt, Key, LockPool, ModelDLockExt, PinnedGuard};
#[cfg(feature = "macros")]
pub use dlock_macros::with_dlock;
