//! All locks, without any waiting.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::oneshot;

use super::{
    Entry, Mode, Status,
    lock::{Lock, Waiter},
};
use crate::SessionId;

/// Longer names are cut.
const MAX_UNITS: usize = 255;

/// What a lock is on. The principal belongs to it as well in SQL Server; here it is `public` always.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    database: String,
    name: String,
}

impl Resource {
    pub(crate) fn new(database: &str, name: &str) -> Self {
        let units: Vec<u16> = name.encode_utf16().take(MAX_UNITS).collect();
        Self {
            database: database.to_owned(),
            name: String::from_utf16_lossy(&units),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// What came of asking for a lock.
#[derive(Debug)]
pub(super) enum Asked {
    Granted,
    /// It would have to wait, and does not want to.
    Refused,
    /// It would wait for ever, for who waits for it.
    Victim,
    Waiting(oneshot::Receiver<()>),
}

#[derive(Debug, Default)]
pub(super) struct Table {
    locks: BTreeMap<Resource, Lock>,
}

impl Table {
    pub(super) fn ask(
        &mut self,
        session: SessionId,
        resource: &Resource,
        mode: Mode,
        may_wait: bool,
    ) -> Asked {
        let lock = self.locks.entry(resource.clone()).or_default();
        let held = lock.held_by(session);
        let mode = lock.mode_after(session, mode);
        if held == Some(mode) || lock.blockers(session, mode, lock.waiting.len()).is_empty() {
            lock.grant(session, mode);
            return Asked::Granted;
        }
        if !may_wait {
            return Asked::Refused;
        }
        let (granted, receiver) = oneshot::channel();
        lock.enqueue(Waiter {
            session,
            mode,
            converts: held.is_some(),
            granted,
        });
        if self.waits_for_itself(session) {
            self.withdraw(session, resource);
            return Asked::Victim;
        }
        Asked::Waiting(receiver)
    }

    /// `false` if it does not wait (any more).
    pub(super) fn withdraw(&mut self, session: SessionId, resource: &Resource) -> bool {
        self.with(resource, |lock| lock.withdraw(session))
    }

    /// `false` if the session does not hold it.
    pub(super) fn release(&mut self, session: SessionId, resource: &Resource) -> bool {
        self.with(resource, |lock| lock.release(session))
    }

    pub(super) fn end(&mut self, session: SessionId) {
        for lock in self.locks.values_mut() {
            lock.forget(session);
        }
        self.locks.retain(|_, lock| !lock.is_unused());
    }

    pub(super) fn mode(&self, session: SessionId, resource: &Resource) -> Option<Mode> {
        self.locks.get(resource)?.held_by(session)
    }

    /// Whether the session would be granted it at once.
    pub(super) fn test(&self, session: SessionId, resource: &Resource, mode: Mode) -> bool {
        self.locks.get(resource).is_none_or(|lock| {
            let mode = lock.mode_after(session, mode);
            lock.held_by(session) == Some(mode)
                || lock.blockers(session, mode, lock.waiting.len()).is_empty()
        })
    }

    /// One entry for each session and lock, the holders of a lock first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.locks
            .iter()
            .flat_map(|(resource, lock)| entries(resource, lock))
            .collect()
    }

    fn with(&mut self, resource: &Resource, change: impl FnOnce(&mut Lock) -> bool) -> bool {
        let Some(lock) = self.locks.get_mut(resource) else {
            return false;
        };
        let changed = change(lock);
        if lock.is_unused() {
            self.locks.remove(resource);
        }
        changed
    }

    /// A circle can close only when somebody starts to wait, and then through it.
    fn waits_for_itself(&self, session: SessionId) -> bool {
        let mut seen = HashSet::new();
        let mut next = self.waits_for(session);
        while let Some(other) = next.pop() {
            if other == session {
                return true;
            }
            if seen.insert(other) {
                next.extend(self.waits_for(other));
            }
        }
        false
    }

    /// A session waits for one lock at a time.
    fn waits_for(&self, session: SessionId) -> Vec<SessionId> {
        self.locks
            .values()
            .find_map(|lock| lock.blockers_of_waiter(session))
            .unwrap_or_default()
    }
}

fn entries(resource: &Resource, lock: &Lock) -> Vec<Entry> {
    let entry = |session, mode, status, count| Entry {
        database: resource.database.clone(),
        name: resource.name.clone(),
        session,
        mode,
        status,
        count,
    };
    let held = lock.held.iter().filter(|held| {
        !lock
            .waiting
            .iter()
            .any(|waiter| waiter.session == held.session)
    });
    let held = held.map(|held| entry(held.session, held.mode, Status::Granted, held.count));
    let waiting = lock.waiting.iter().map(|waiter| {
        let count = lock
            .held
            .iter()
            .find(|held| held.session == waiter.session)
            .map_or(0, |held| held.count);
        entry(
            waiter.session,
            waiter.mode,
            if waiter.converts {
                Status::Converting
            } else {
                Status::Waiting
            },
            count,
        )
    });
    held.chain(waiting).collect()
}
