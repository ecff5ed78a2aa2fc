//! Keys that somebody else has and that no session waits for at the moment: which is to be tried for again when, and which waits next.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::key::PhysicalKey;

/// A place in the line for a session to wait on.
pub(crate) type Turn = u64;

#[derive(Debug, Default)]
pub(crate) struct Retries {
    by_time: BTreeSet<(Instant, PhysicalKey)>,
    by_turn: BTreeMap<Turn, PhysicalKey>,
}

impl Retries {
    pub(crate) fn insert(&mut self, until: Instant, turn: Turn, key: PhysicalKey) {
        self.by_turn.insert(turn, key.clone());
        self.by_time.insert((until, key));
    }

    pub(crate) fn remove(&mut self, until: Instant, turn: Turn, key: &PhysicalKey) {
        self.by_turn.remove(&turn);
        self.by_time.remove(&(until, key.clone()));
    }

    pub(crate) fn clear(&mut self) {
        self.by_turn.clear();
        self.by_time.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.by_turn.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_turn.is_empty()
    }

    /// The time of the next try.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// One that is to be tried for by now.
    pub(crate) fn due(&self, now: Instant) -> Option<&PhysicalKey> {
        let (until, key) = self.by_time.first()?;
        (*until <= now).then_some(key)
    }

    /// First in line first.
    pub(crate) fn in_line(&self) -> impl Iterator<Item = &PhysicalKey> {
        self.by_turn.values()
    }
}
