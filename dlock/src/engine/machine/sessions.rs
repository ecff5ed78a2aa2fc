//! All that is known of each session: what it has to do, what it was sent, how many locks it holds.

mod session;

use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use self::session::{Session, WaitOrder};
use super::event::{Inspection, SessionId, Ticket, Time};

/// After a refused connection the sessions that exist carry on for this long before another is
/// opened.
const REFUSED: Duration = Duration::from_secs(1);

/// So many sessions in a row may die before their first reply.
pub(crate) const MAX_STILLBORN: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    /// None is opened before then.
    refused_until: Option<Time>,
    /// Sessions in a row that died before their first reply.
    stillborn: u32,
}

impl Sessions {
    pub(super) fn open(&mut self, id: SessionId, now: Time) {
        self.by_id.insert(id, Session::opening(now));
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(super) fn is_inline(&self, id: SessionId) -> bool {
        self.get(id).is_some_and(Session::is_inline)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.by_id.remove(&id)
    }

    /// Forgets everything. Returns the tickets of releases that wait for a confirmation.
    pub(super) fn drain(&mut self) -> Vec<Ticket> {
        let sessions = std::mem::take(&mut self.by_id).into_values();
        sessions.flat_map(Session::into_confirms).collect()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.by_id.keys().copied()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(id, session)| (*id, session))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SessionId, &mut Session)> {
        self.by_id.iter_mut().map(|(id, session)| (*id, session))
    }

    /// Those that wait on the server.
    pub(super) fn waiting(&self) -> Vec<SessionId> {
        let waiting = self.iter().filter(|(_, session)| session.wait().is_some());
        waiting.map(|(id, _)| id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn opening(&self) -> usize {
        let opening = self.by_id.values().filter(|session| !session.is_up());
        opening.count()
    }

    pub(super) fn any_is_up(&self) -> bool {
        self.by_id.values().any(Session::is_up)
    }

    pub(super) fn take_inspections(&mut self) -> Vec<Inspection> {
        let sessions = self.by_id.values_mut();
        let taken = sessions.flat_map(|session| session.take_inspections());
        taken.collect()
    }

    pub(super) fn refused_until(&self) -> Option<Time> {
        self.refused_until
    }

    pub(super) fn is_refused(&self, now: Time) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }

    pub(super) fn refuse(&mut self, now: Time) {
        self.refused_until = Some(now + REFUSED);
    }

    pub(super) fn admit(&mut self) {
        self.refused_until = None;
    }

    /// A session that is good has replied: the server is.
    pub(super) fn replied(&mut self, id: SessionId, now: Time) -> Option<&mut Session> {
        let session = self.by_id.get_mut(&id)?;
        self.stillborn = 0;
        session.has_replied(now);
        Some(session)
    }

    /// A session has died that never replied. Whether that is one too many.
    pub(super) fn note_stillborn(&mut self, now: Time) -> bool {
        self.stillborn += 1;
        self.refuse(now);
        let is_enough = self.stillborn >= MAX_STILLBORN && self.by_id.is_empty();
        if is_enough {
            self.stillborn = 0;
        }
        is_enough
    }

    pub(super) fn forgive_stillborn(&mut self) {
        self.stillborn = 0;
    }

    /// The session for the next try: the first with room that cannot wait anyhow, or else the first
    /// with room, so that the others stay free to wait.
    pub(super) fn with_room(
        &self,
        max_locks: usize,
        is_out: impl Fn(SessionId) -> bool,
    ) -> Option<SessionId> {
        let usable = self
            .iter()
            .filter(|(id, session)| session.can_try() && !is_out(*id));
        let with_room = usable.filter(|(_, session)| session.load() < max_locks);
        with_room
            .min_by_key(|(_, session)| session.is_free())
            .map(|(id, _)| id)
    }

    pub(super) fn emptiest(&self, is_out: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        let usable = self
            .iter()
            .filter(|(id, session)| session.can_try() && !is_out(*id));
        usable
            .min_by_key(|(_, session)| session.load())
            .map(|(id, _)| id)
    }

    /// A session that holds nothing and may block on the server; one is always left for tries.
    pub(super) fn to_wait_on(&self) -> Option<SessionId> {
        let able = || self.iter().filter(|(_, session)| session.can_try());
        let _left_for_tries = able().nth(1)?;
        let mut free = able().filter(|(_, session)| session.can_wait());
        free.next_back().map(|(id, _)| id)
    }
}
