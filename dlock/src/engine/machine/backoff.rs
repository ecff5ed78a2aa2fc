//! Keys that another process holds and that no session waits for at the moment: when each is tried
//! again, and which waits next.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Time;
use crate::key::PhysicalKey;

/// A place in the line of keys for a session to wait on. No two keys have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(pub(super) u64);

#[derive(Debug, Default)]
pub(super) struct BackOffs {
    by_turn: BTreeMap<Turn, (Time, PhysicalKey)>,
    by_time: BTreeSet<(Time, Turn)>,
}

impl BackOffs {
    pub(super) fn insert(&mut self, turn: Turn, until: Time, key: PhysicalKey) {
        self.by_turn.insert(turn, (until, key));
        self.by_time.insert((until, turn));
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        if let Some((until, _)) = self.by_turn.remove(&turn) {
            self.by_time.remove(&(until, turn));
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_turn.clear();
        self.by_time.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.by_turn.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_turn.is_empty()
    }

    /// When the first key is tried again.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// A key that is to be tried again by now.
    pub(super) fn due(&self, now: Time) -> Option<PhysicalKey> {
        let (until, turn) = self.by_time.first()?;
        (*until <= now).then(|| self.by_turn[turn].1.clone())
    }

    /// First in line first.
    pub(super) fn in_line(&self) -> impl Iterator<Item = &PhysicalKey> {
        self.by_turn.values().map(|(_, key)| key)
    }

    #[cfg(test)]
    pub(super) fn has(&self, turn: Turn, key: &PhysicalKey) -> bool {
        let entry = self.by_turn.get(&turn);
        entry.is_some_and(|(until, found)| found == key && self.by_time.contains(&(*until, turn)))
    }
}
