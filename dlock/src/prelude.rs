//! `use dlock::prelude::*;`

pub use crate::{DLockExt, DLockGuard, Key, LockPool, PinnedGuard};
