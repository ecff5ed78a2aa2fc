//! Where the locks of inline sessions are: files, or the memory of this process.

use std::fmt;
use std::time::Duration;

use sea_orm::DbErr;

use crate::backend::batch::LONGEST_SLICE;
use crate::backend::session::Hold;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::{Holder, ServerLock};

/// A waiter takes its turn anew with each slice. An older turn belongs to a waiter that has
/// stopped, and is ignored.
pub(crate) const LONGEST_TURN: Duration = LONGEST_SLICE.saturating_mul(2);

/// Where locks are.
pub(crate) trait Place: fmt::Debug + Send + Sync {
    /// One try.
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> Result<Option<Box<dyn Hold>>, DbErr>;

    /// Takes the turn to wait for this lock, unless another waiter has it or taking it fails.
    fn try_turn(&self, key: &PhysicalKey) -> Option<Box<dyn Hold>>;

    /// Whether a waiter has the turn.
    fn is_awaited(&self, key: &PhysicalKey) -> bool;

    fn listing(&self) -> Result<Listing, DbErr>;
}

/// The locks that are held.
pub(crate) struct Listing {
    pub(crate) locks: Vec<ServerLock>,
    /// Something has moved meanwhile: one may be missing.
    pub(crate) has_moved: bool,
}

/// A holder that is a process of this host.
pub(crate) fn process(id: u32) -> Holder {
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    Holder {
        session: id.into(),
        application: name.trim_end().to_owned(),
    }
}
