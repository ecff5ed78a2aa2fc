//! What the pool's state knows of pinned locks. See `state`.

use tokio::time::Instant;

use crate::backend::Request;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
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

    /// Whether a request waits for its session to open; without one (0), for its turn to have one,
    /// while none is open.
    pub(super) fn is_opening_pinned(&self, id: SessionId) -> bool {
        match self.pinned.get(&id) {
            Some(entry) => !entry.open,
            None => id == 0 && !self.pinned.values().any(|entry| entry.open),
        }
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
    pub(super) fn pinned_granted(
        &mut self,
        id: SessionId,
        lock: Request,
        to_somebody: bool,
        now: Instant,
    ) {
        self.counters.acquired += u64::from(to_somebody);
        if let Some(entry) = self.pinned.get_mut(&id) {
            entry.held = Some((lock, now));
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
        let pinned = pinned.map(|(held, _)| &held.key);
        self.keys.keys().chain(pinned).cloned().collect()
    }

    /// When a pinned guard acquired this key that keeps a request of this mode waiting.
    pub(in crate::pool) fn pinned_since(&self, key: &PhysicalKey, mode: Mode) -> Option<Instant> {
        let held = self.pinned.values().filter_map(|entry| entry.held.as_ref());
        let in_the_way =
            held.filter(|(held, _)| held.key == *key && !held.mode.coexists_with(mode));
        in_the_way.map(|(_, since)| *since).min()
    }

    /// Its task is over; one that has not `finished` was dropped with its runtime. Returns how many
    /// guards have lost their locks by that.
    pub(super) fn end_pinned(&mut self, id: SessionId, epoch: u64, finished: bool) -> u64 {
        let mut lost = 0;
        if let Some(PinnedEntry { open, held, .. }) = self.pinned.remove(&id) {
            self.counters.sessions_closed += u64::from(open && finished);
            lost = u64::from(held.is_some() && !finished);
            self.counters.lost += lost;
        }
        match finished {
            true => self.task_finished(epoch),
            false => lost += self.runtime_ended(epoch),
        }
        if self.closing {
            // They stayed for this one.
            self.wake_all();
        }
        lost
    }

    /// What a key of the server is called here.
    pub(in crate::pool) fn name_of(&self, key: &PhysicalKey) -> Option<Key> {
        let queue = self.keys.get(key);
        let queued = queue.and_then(|queue| queue.name.clone());
        let mut pinned = self.pinned.values();
        queued.or_else(|| {
            let holds =
                |pinned: &&PinnedEntry| matches!(&pinned.held, Some((held, _)) if held.key == *key);
            let pinned = pinned.find(holds);
            pinned.map(|pinned| pinned.name.clone())
        })
    }
}
