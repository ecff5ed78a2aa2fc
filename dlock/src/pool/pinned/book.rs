//! What the pool's state knows of pinned locks. See `state`.

use crate::key::{Key, PhysicalKey};
use crate::pool::queue::SessionId;
use crate::pool::sessions::PinnedEntry;
use crate::pool::state::State;

impl State {
    /// A task begins that will own a session.
    pub(in crate::pool) fn begin_pinned(&mut self, name: Key) -> SessionId {
        let id = self.next_id();
        let entry = PinnedEntry {
            name,
            open: false,
            queued: false,
            held: None,
        };
        self.pinned.insert(id, entry);
        self.tasks += 1;
        id
    }

    pub(super) fn pinned_opened(&mut self, id: SessionId) {
        self.counters.sessions_opened += 1;
        if let Some(entry) = self.pinned.get_mut(&id) {
            entry.open = true;
        }
    }

    /// The session died; its task may go on with another.
    pub(super) fn pinned_died(&mut self, id: SessionId) {
        self.counters.sessions_lost += 1;
        if let Some(entry) = self.pinned.get_mut(&id) {
            entry.open = false;
            entry.held = None;
        }
    }

    pub(super) fn pinned_queued(&mut self, id: SessionId, queued: bool) {
        if let Some(entry) = self.pinned.get_mut(&id) {
            entry.queued = queued;
        }
    }

    /// To somebody, unless he has left meanwhile.
    pub(super) fn pinned_granted(&mut self, id: SessionId, key: PhysicalKey, to_somebody: bool) {
        self.counters.acquired += u64::from(to_somebody);
        if let Some(entry) = self.pinned.get_mut(&id) {
            entry.held = Some(key);
        }
    }

    pub(super) fn pinned_released(&mut self, id: SessionId) {
        if let Some(entry) = self.pinned.get_mut(&id) {
            entry.held = None;
        }
    }

    /// Whether there is one about which another session may have to be asked.
    pub(in crate::pool) fn has_pinned_held(&self) -> bool {
        self.pinned.values().any(|entry| entry.held.is_some())
    }

    /// The keys that are known here.
    pub(in crate::pool) fn known(&self) -> Vec<PhysicalKey> {
        let pinned = self.pinned.values().filter_map(|entry| entry.held.as_ref());
        self.keys.keys().chain(pinned).cloned().collect()
    }

    /// Its task is over; one that has not `finished` was dropped with its runtime.
    pub(super) fn end_pinned(&mut self, id: SessionId, epoch: u64, finished: bool) {
        if let Some(PinnedEntry { open, held, .. }) = self.pinned.remove(&id) {
            self.counters.sessions_closed += u64::from(open && finished);
            self.counters.lost += u64::from(held.is_some() && !finished);
        }
        match finished {
            true => self.task_finished(epoch),
            false => self.runtime_ended(epoch),
        }
        if self.closing {
            // They stayed for this one.
            self.wake_all();
        }
    }

    /// What a key of the server is called here.
    pub(in crate::pool) fn name_of(&self, key: &PhysicalKey) -> Option<Key> {
        let queue = self.keys.get(key);
        let queued = queue.and_then(|queue| queue.name.clone());
        let mut pinned = self.pinned.values();
        queued.or_else(|| {
            let pinned = pinned.find(|pinned| pinned.held.as_ref() == Some(key));
            pinned.map(|pinned| pinned.name.clone())
        })
    }
}
