//! The keys and modes of a database: pure data and functions, known before any session is open.

use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// The keys and modes of one database.
#[derive(Debug)]
pub(crate) struct LockRules {
    /// The database's name as its makers write it.
    pub(crate) database: &'static str,
    pub(crate) modes: &'static [Mode],
    /// The lock's name on the server; `None` when that depends on a server that is not known yet.
    pub(crate) physical_key: fn(&KeyRepr) -> Result<Option<PhysicalKey>, Error>,
    /// Why this build has no locks there.
    pub(crate) refusal: Option<Error>,
}

impl LockRules {
    /// Whether a lock can be held in this mode.
    pub(crate) fn check(&self, mode: Mode) -> Result<(), Error> {
        match &self.refusal {
            Some(refusal) => Err(refusal.clone()),
            None if self.modes.contains(&mode) => Ok(()),
            None => Err(no_such_mode(self.database, mode)),
        }
    }

    /// The lock's name on the server; `None` when that depends on a server that is not known yet.
    pub(crate) fn physical_key(&self, key: &KeyRepr) -> Result<Option<PhysicalKey>, Error> {
        match &self.refusal {
            Some(refusal) => Err(refusal.clone()),
            None => (self.physical_key)(key),
        }
    }
}

/// Another database has it.
fn no_such_mode(backend: &'static str, mode: Mode) -> Error {
    let (feature, hint) = match mode {
        Mode::Update => (
            "update locks",
            "SQL Server has them: take an exclusive lock, which keeps readers out, too",
        ),
        Mode::Shared => (
            "shared locks",
            "its locks are exclusive: leave `.shared()` out, or let readers go without a lock",
        ),
        _ => (
            "locks in this mode",
            "Oracle has it: take an exclusive or a shared lock",
        ),
    };
    Error::Unsupported {
        backend,
        feature,
        hint,
    }
}
