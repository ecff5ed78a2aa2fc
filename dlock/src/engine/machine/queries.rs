//! What the machine answers about itself. Nothing changes.

use super::event::{Error, Time};
use super::{Machine, Phase};
use crate::engine::Counters;
use crate::error::HeldBy;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// How much there is of what.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Census {
    /// Sessions that are open.
    pub(crate) sessions: usize,
    /// Of these, sessions that wait on the server.
    pub(crate) waiting_sessions: usize,
    /// Locks that the server has granted.
    pub(crate) held: usize,
    /// Callers that wait for a lock.
    pub(crate) waiters: usize,
    /// Keys that are held, asked for or waited for.
    pub(crate) keys: usize,
    pub(crate) counters: Counters,
}

impl Machine {
    pub(in crate::engine) fn census(&self) -> Census {
        let sessions = || self.sessions.iter().filter(|(_, session)| session.is_up());
        let waits = sessions().filter(|(_, session)| session.wait().is_some());
        Census {
            sessions: sessions().count(),
            waiting_sessions: waits.count(),
            held: sessions().map(|(_, session)| session.held()).sum(),
            waiters: self.keys.iter().map(|(_, entry)| entry.line().len()).sum(),
            keys: self.keys.len(),
            counters: self.counters,
        }
    }

    pub(in crate::engine) fn counters(&self) -> Counters {
        self.counters
    }

    /// What the keys that are held or waited for are called.
    pub(in crate::engine) fn names(&self) -> impl Iterator<Item = (&PhysicalKey, &Key)> {
        let entries = self.keys.iter();
        entries.filter_map(|(key, entry)| Some((key, entry.name()?)))
    }

    pub(in crate::engine) fn name(&self, key: &PhysicalKey) -> Option<&Key> {
        self.keys.get(key)?.name()
    }

    /// The holder that keeps a request of this mode waiting, as far as it is known.
    pub(in crate::engine) fn held_by(
        &self,
        key: &PhysicalKey,
        mode: Mode,
        now: Time,
    ) -> Option<HeldBy> {
        self.keys.get(key)?.held_by(mode, now)
    }

    /// Whether a request is admitted.
    pub(in crate::engine) fn admit(&self, now: Time) -> Result<(), Error> {
        match &self.phase {
            Phase::Closing => Err(Error::PoolClosed),
            Phase::Quarantine(error, until) if now < *until => Err(error.clone()),
            Phase::Open | Phase::Quarantine(..) => Ok(()),
        }
    }

    /// Whether any session is open.
    pub(in crate::engine) fn has_session(&self) -> bool {
        self.sessions.any_is_up()
    }

    /// Whether an [inspection](super::event::Event::Inspect) has a session that can be asked now.
    pub(in crate::engine) fn can_inspect(&self) -> bool {
        self.sessions.emptiest(|_| false).is_some()
    }
}
