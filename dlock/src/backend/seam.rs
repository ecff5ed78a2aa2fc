//! What opens the sessions of one pool.

use std::any::Any;

use async_trait::async_trait;

use super::pinned::PinnedBase;
use super::rules::LockRules;
use super::session::Opened;
use super::session_error::SessionError;
use crate::error::Error;
use crate::key::{CurrentDatabase, PhysicalKey};
use crate::mode::Mode;

/// One database, as a pool reaches it: its rules, and the way to open sessions.
#[async_trait]
pub(crate) trait Backend: Any + Send + Sync {
    /// Keys and modes, as far as the server is known: from the first session on for certain.
    fn rules(&self) -> &'static LockRules;

    /// Whether sessions can make a lock that they hold [stronger](super::UpgradeLocks).
    fn upgrades(&self) -> bool {
        false
    }

    /// The database in which the sessions are: known from the first one on.
    fn database(&self) -> CurrentDatabase;

    /// Why the session that is being opened is not there yet.
    fn trouble(&self) -> Option<Error> {
        None
    }

    /// Opens a session and makes sure that its locks exclude other sessions.
    async fn connect(&self) -> Result<Opened, SessionError>;

    /// Whether a new session was on another server than the live ones, which have to show now that
    /// theirs still answers.
    fn is_disputed(&self) -> bool {
        false
    }

    /// A lock for two sessions to try whether their locks exclude each other; `None` where that is
    /// known.
    fn exclusion_probe(&self) -> Option<PhysicalKey> {
        None
    }

    /// The locks of two sessions exclude each other.
    fn set_excludes(&self) {}

    /// No session is opened any more: this is why.
    fn refuse_for_good(&self, _: &Error) {}

    /// Opens what one pinned lock needs.
    async fn open_pinned(&self) -> Result<PinnedBase, SessionError> {
        Err(SessionError::Refused(Error::Unsupported {
            backend: self.rules().database,
            feature: "pinned locks (`.pinned()`)",
            hint: "SeaORM has no connection to it: hold the lock around your work, with `.run(..)`",
        }))
    }
}

impl dyn Backend {
    /// The mode that an upgrade makes of a lock in this mode.
    pub(crate) fn upgraded(&self, mode: Mode) -> Result<Mode, Error> {
        let (feature, hint) = match (self.upgrades(), mode) {
            (true, Mode::Exclusive | Mode::Update) => return Ok(Mode::Exclusive),
            (true, _) => (
                "upgrades of shared locks",
                "two readers would wait for each other: take the lock with `.update()`",
            ),
            (false, _) => (
                "upgrades of locks",
                "release the lock and take an exclusive one: others may have it in between",
            ),
        };
        Err(Error::Unsupported {
            backend: self.rules().database,
            feature,
            hint,
        })
    }
}
