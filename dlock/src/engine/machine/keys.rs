//! All that is known of each key: its waiters, what is asked about it, which sessions hold it.

mod contention;
mod entry;
mod line;

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::FixedState;

pub(super) use self::entry::{Ask, Dropped, Entry, Grant, HandOver, TENURE};
pub(super) use self::line::Waiter;
use super::event::{Command, Lost, Reply, SessionId, Step, Time};
use crate::key::PhysicalKey;
use crate::server_lock::Holder;

/// As many entries as one statement has places.
const MAX_SPARE: usize = crate::backend::MAX_BATCH;

#[derive(Debug)]
pub(super) struct Keys {
    /// No decision depends on the order.
    entries: HashMap<PhysicalKey, Box<Entry>, FixedState>,
    /// Most entries are short-lived, and this is faster than the allocator.
    #[allow(
        clippy::vec_box,
        reason = "they come out of `entries` and go back there"
    )]
    spare: Vec<Box<Entry>>,
}

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: HashMap::with_hasher(FixedState::with_seed(seed)),
            spare: Vec::new(),
        }
    }

    pub(super) fn get(&self, key: &PhysicalKey) -> Option<&Entry> {
        self.entries.get(key).map(|entry| &**entry)
    }

    pub(super) fn get_mut(&mut self, key: &PhysicalKey) -> Option<&mut Entry> {
        self.entries.get_mut(key).map(|entry| &mut **entry)
    }

    pub(super) fn entry(&mut self, key: &PhysicalKey) -> &mut Entry {
        let Self { entries, spare } = self;
        let entry = entries.entry(key.clone());
        entry.or_insert_with(|| spare.pop().unwrap_or_default())
    }

    /// Forgets a key of which nothing is left.
    pub(super) fn forget(&mut self, key: &PhysicalKey) {
        if let Some(mut entry) = self.entries.remove(key)
            && self.spare.len() < MAX_SPARE
        {
            entry.reset();
            self.spare.push(entry);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// In an order that is the same in each run.
    pub(super) fn sorted(&self) -> Vec<PhysicalKey> {
        let mut keys: Vec<_> = self.entries.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Those that have to do with this session, sorted. Looks at every key.
    pub(super) fn of_session(&self, session: SessionId) -> Vec<PhysicalKey> {
        let entries = self.entries.iter();
        let found = entries.filter(|(_, entry)| entry.knows(session));
        let mut keys: Vec<_> = found.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    /// Forgets everything. Returns the grants, sorted.
    pub(super) fn drain(&mut self) -> Vec<Lost> {
        let entries = self.entries.drain();
        let mut grants: Vec<_> = entries.flat_map(|(_, entry)| entry.into_grants()).collect();
        grants.sort_unstable_by_key(|lost| lost.grant);
        grants
    }

    pub(super) fn reply_to_all(&mut self, reply: &Reply, step: &mut Step<'_>) {
        let mut tickets = Vec::new();
        for entry in self.entries.values_mut() {
            tickets.extend(entry.line_mut().take());
        }
        tickets.sort_unstable();
        step.extend(
            tickets
                .into_iter()
                .map(|ticket| Command::Reply(ticket, reply.clone())),
        );
    }

    /// No session has taken the try for this key: it is not asked any more.
    pub(super) fn withdraw_unassigned(&mut self, key: &PhysicalKey) {
        if let Some(entry) = self.get_mut(key)
            && entry.ask() == Ask::Try(None)
        {
            entry.set_ask(Ask::Nothing);
        }
    }

    pub(super) fn set_blocker(&mut self, key: &PhysicalKey, holder: Option<Holder>, now: Time) {
        if let Some(entry) = self.get_mut(key) {
            entry.contention_mut().set_blocker(holder, now);
        }
    }

    /// Replies [`Busy`](Reply::Busy) to the tries in this part of the line.
    pub(super) fn refuse_tries(
        &mut self,
        key: &PhysicalKey,
        part: Range<usize>,
        step: &mut Step<'_>,
    ) {
        if let Some(entry) = self.get_mut(key) {
            entry.line_mut().refuse_tries(part, |_| true, step);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PhysicalKey, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key, &**entry))
    }
}
