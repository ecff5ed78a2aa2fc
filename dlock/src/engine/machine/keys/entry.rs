//! One key.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::busy;
use crate::engine::machine::backoff::Turn;
use crate::engine::machine::event::{Command, GrantId, Reply, SessionId, Step, Ticket, Time};
use crate::mode::Mode;
use crate::server_lock::Holder;

/// For this long after its grant a lock may pass from one local holder to the next. It is a
/// fraction of what people notice, and many times what the server takes.
const FULL_TURN: Duration = Duration::from_millis(20);

/// After a wait of up to this long a turn is not cut.
const FULL_TURN_AFTER: Duration = Duration::from_millis(100);

/// For this long after a grant readers may join, and for this long a reply proves that its session
/// lives.
pub(crate) const TENURE: Duration = Duration::from_millis(100);

/// An unused entry keeps room for so many.
const FEW_WAITERS: usize = 8;

/// After so many slices of a wait, which are some 1.3 s, the server is asked who holds the lock.
const LOOK_AFTER: u32 = 2;

/// After so long it is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(8);

#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// First in, first out, so sorted by ticket.
    waiters: VecDeque<Waiter>,
    /// How many of them prefer `Busy` to waiting.
    tries: usize,
    /// One exclusive, or any number that coexist, each on a session of its own.
    grants: Vec<Grant>,
    /// Sessions that give the key back.
    releasing: Vec<SessionId>,
    ask: Ask,
    /// Retries since the last grant.
    attempt: u32,
    /// When the server refused it first since then.
    contended_since: Option<Time>,
    /// Slices of waits that have ended since then.
    slices: u32,
    /// Its place in the line for a session to wait on: kept until it had a wait.
    turn: Option<Turn>,
    /// The last answer about who holds it, and when it came.
    blocker: Option<(Option<Holder>, Time)>,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) mode: Mode,
    pub(crate) deadline: Option<Time>,
    pub(crate) one_try: bool,
}

/// One lock of one session.
#[derive(Debug)]
pub(crate) struct Grant {
    id: GrantId,
    session: SessionId,
    mode: Mode,
    /// At least one, but while it is being served.
    guards: u64,
    granted_at: Time,
    handoffs: u32,
    /// For so long it may pass from holder to holder.
    turn: Duration,
}

/// The one question about a key that is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ask {
    #[default]
    Nothing,
    /// A try that is in the mailbox of a session, or on its way; `None`: no session has taken it.
    Try(Option<SessionId>),
    /// A session waits on the server.
    Wait(SessionId),
    /// Nothing is asked until a time that the [back-offs](super::super::backoff) know.
    BackOff(Turn),
    /// Whether the session that holds the key still lives.
    Probe(SessionId),
}

impl Ask {
    /// The session that was asked.
    pub(crate) fn session(self) -> Option<SessionId> {
        match self {
            Self::Try(session) => session,
            Self::Wait(session) | Self::Probe(session) => Some(session),
            Self::Nothing | Self::BackOff(_) => None,
        }
    }
}

/// What became of a guard that was dropped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The grant was lost before.
    Unknown,
    /// Other guards still have it.
    Shared,
    /// The next waiter has it, by its ticket.
    HandedOver(Ticket, SessionId),
    /// The session has to give it back.
    Free(SessionId, Mode),
    /// The session has to look first whether it is still held.
    Unproved(SessionId),
}

/// Whether the next waiter may get a lock from the last holder, without the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandOver {
    No,
    Yes,
    IfProved,
}

impl Entry {
    // Waiters.

    pub(crate) fn push(&mut self, waiter: Waiter) {
        if self.waiters.capacity() == 0 {
            // Most lines are short, and there are many.
            self.waiters.reserve_exact(1);
        }
        self.tries += usize::from(waiter.one_try);
        self.waiters.push_back(waiter);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let found = self
            .waiters
            .binary_search_by_key(&ticket, |waiter| waiter.ticket);
        if let Some(waiter) = found.ok().and_then(|index| self.waiters.remove(index)) {
            self.tries -= usize::from(waiter.one_try);
        }
    }

    fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.waiters.pop_front()?;
        self.tries -= usize::from(waiter.one_try);
        Some(waiter)
    }

    pub(super) fn take_waiters(&mut self) -> impl Iterator<Item = Ticket> {
        self.tries = 0;
        self.waiters.drain(..).map(|waiter| waiter.ticket)
    }

    pub(crate) fn front(&self) -> Option<&Waiter> {
        self.waiters.front()
    }

    pub(crate) fn front_mode(&self) -> Option<Mode> {
        self.front().map(|waiter| waiter.mode)
    }

    /// How many waiters a grant of the front's mode serves: one, or where it can be shared all up
    /// to the next of another mode.
    pub(crate) fn served_by_next_grant(&self) -> usize {
        match self.front_mode() {
            None => 0,
            Some(mode) if mode.is_shareable() => {
                let alike = self.waiters.iter();
                alike.take_while(|waiter| waiter.mode == mode).count()
            }
            Some(_) => 1,
        }
    }

    /// How many waiters the next answers of the server may serve: those of the next grant, or one
    /// try after the other.
    pub(crate) fn served_by_next_tries(&self) -> usize {
        let tries = self.waiters.iter().take_while(|waiter| waiter.one_try);
        tries.count().max(self.served_by_next_grant())
    }

    /// When the last of those gives up whom the next grant serves; `None` if one of them never
    /// does.
    pub(crate) fn last_deadline(&self) -> Option<Time> {
        let served = self.waiters.iter().take(self.served_by_next_grant());
        let deadlines = served.map(|waiter| waiter.deadline);
        deadlines.reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    /// Replies `Busy` to the tries in this part of the line that the answer was for.
    pub(crate) fn refuse_tries(
        &mut self,
        part: Range<usize>,
        is_answered: impl Fn(&Waiter) -> bool,
        step: &mut Step<'_>,
    ) {
        let end = part.end.min(self.waiters.len());
        if self.tries == 0 || part.start >= end {
            return;
        }
        let behind = self.waiters.split_off(end);
        let asked = self.waiters.split_off(part.start);
        for waiter in asked {
            if waiter.one_try && is_answered(&waiter) {
                self.tries -= 1;
                step.push(busy(waiter.ticket));
            } else {
                self.waiters.push_back(waiter);
            }
        }
        self.waiters.extend(behind);
    }

    /// The server has refused a lock of this mode to those who had asked by then: replies `Busy` to
    /// the tries that the same holder keeps out.
    pub(crate) fn refuse_answered(&mut self, mode: Mode, last: Ticket, step: &mut Step<'_>) {
        let end = self.waiters.partition_point(|waiter| waiter.ticket <= last);
        self.refuse_tries(0..end, |waiter| waiter.mode.is_kept_out_with(mode), step);
    }

    /// The server has failed the request of those whom its grant would have served.
    pub(crate) fn fail_front(&mut self, reply: &Reply, step: &mut Step<'_>) {
        for _ in 0..self.served_by_next_grant() {
            if let Some(waiter) = self.pop() {
                step.push(Command::Reply(waiter.ticket, reply.clone()));
            }
        }
    }

    // Grants.

    pub(crate) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    pub(crate) fn is_held_on(&self, session: SessionId) -> bool {
        self.grants.iter().any(|grant| grant.session == session)
    }

    /// How many grants this session has.
    #[cfg(test)]
    pub(crate) fn grants_on(&self, session: SessionId) -> usize {
        let grants = self.grants.iter();
        grants.filter(|grant| grant.session == session).count()
    }

    /// Whether a lock of this mode has to wait for a local holder.
    pub(crate) fn is_held_against(&self, mode: Mode) -> bool {
        self.grants
            .iter()
            .any(|grant| !grant.mode.coexists_with(mode))
    }

    /// The mode that the server is to be asked for, if it is to be asked at all.
    pub(crate) fn wanted(&self) -> Option<Mode> {
        let mode = self.front_mode()?;
        (!self.is_held_against(mode)).then_some(mode)
    }

    /// The server has granted a lock. Returns whom it serves: the first, and where it can be shared
    /// all others of this mode up to the next of another. Nobody may want it any more.
    pub(crate) fn grant(
        &mut self,
        id: GrantId,
        session: SessionId,
        mode: Mode,
        step: &mut Step<'_>,
    ) -> u64 {
        let turn = self.turn_of_grant(step.now);
        self.calm();
        self.grants.push(Grant {
            id,
            session,
            mode,
            guards: 0,
            granted_at: step.now,
            handoffs: 0,
            turn,
        });
        self.serve(self.grants.len() - 1, step)
    }

    /// A lock that nobody wants any more is given back.
    pub(crate) fn withdraw(&mut self, id: GrantId) {
        self.grants.retain(|grant| grant.id != id);
    }

    /// Readers join a young grant of their mode whose session lives, or any if no other session can
    /// be asked: later the server is asked, where a writer of another process goes first. Returns
    /// how many have joined.
    pub(crate) fn join(
        &mut self,
        can_ask_elsewhere: bool,
        lives: impl Fn(SessionId) -> bool,
        step: &mut Step<'_>,
    ) -> u64 {
        let mode = self.front_mode();
        let is_open = |grant: &Grant| {
            Some(grant.mode) == mode
                && (step.now.saturating_sub(grant.granted_at) < TENURE || !can_ask_elsewhere)
                && lives(grant.session)
        };
        match self.grants.iter().position(is_open) {
            Some(index) => self.serve(index, step),
            None => 0,
        }
    }

    /// The session of a grant that readers at the front could join.
    pub(crate) fn joinable(&self) -> Option<SessionId> {
        let mode = self.front_mode().filter(|mode| mode.is_shareable())?;
        let grant = self.grants.iter().find(|grant| grant.mode == mode)?;
        Some(grant.session)
    }

    /// Gives a grant to those at the front whose mode it has.
    fn serve(&mut self, index: usize, step: &mut Step<'_>) -> u64 {
        let Grant {
            id, session, mode, ..
        } = self.grants[index];
        let mut served = 0;
        while self.front_mode() == Some(mode)
            && (self.grants[index].guards == 0 || mode.is_shareable())
            && let Some(waiter) = self.pop()
        {
            self.grants[index].guards += 1;
            served += 1;
            step.push(Command::Reply(
                waiter.ticket,
                Reply::Granted { grant: id, session },
            ));
        }
        served
    }

    /// A guard is gone. The next waiter may get its lock without the server, so often and so soon
    /// after the server's grant that a reply of its session is younger than a tenure.
    pub(crate) fn drop_guard(
        &mut self,
        id: GrantId,
        hand_over: impl Fn(&Grant) -> HandOver,
    ) -> Dropped {
        let Some(index) = self.grants.iter().position(|grant| grant.id == id) else {
            return Dropped::Unknown;
        };
        let grant = &mut self.grants[index];
        if grant.guards > 1 {
            grant.guards -= 1;
            return Dropped::Shared;
        }
        let Grant { session, mode, .. } = self.grants[index];
        if self.front_mode() == Some(mode) && !mode.is_shareable() {
            match hand_over(&self.grants[index]) {
                HandOver::IfProved => return Dropped::Unproved(session),
                HandOver::Yes => {
                    if let Some(waiter) = self.pop() {
                        self.grants[index].handoffs += 1;
                        return Dropped::HandedOver(waiter.ticket, session);
                    }
                }
                HandOver::No => {}
            }
        }
        self.grants.swap_remove(index);
        self.releasing.push(session);
        Dropped::Free(session, mode)
    }

    pub(crate) fn begin_release(&mut self, session: SessionId) {
        self.releasing.push(session);
    }

    pub(crate) fn end_release(&mut self, session: SessionId) {
        let mut releasing = self.releasing.iter();
        let found = releasing.position(|releasing| *releasing == session);
        found.map(|index| self.releasing.swap_remove(index));
    }

    /// A lock is gone. Returns its session and the number of its guards.
    pub(crate) fn lose(&mut self, id: GrantId) -> Option<(SessionId, u64)> {
        let index = self.grants.iter().position(|grant| grant.id == id)?;
        let lost = self.grants.swap_remove(index);
        Some((lost.session, lost.guards))
    }

    pub(crate) fn releasing(&self) -> &[SessionId] {
        &self.releasing
    }

    // What is asked.

    pub(crate) fn ask(&self) -> Ask {
        self.ask
    }

    pub(crate) fn set_ask(&mut self, ask: Ask) {
        self.ask = ask;
    }

    /// The next retry is put off for longer. Returns how many there have been.
    pub(crate) fn next_attempt(&mut self, now: Time) -> u32 {
        self.contended_since.get_or_insert(now);
        self.attempt = self.attempt.saturating_add(1);
        self.attempt - 1
    }

    /// For how long a grant of now may pass from holder to holder. The longer this process has
    /// waited, the more others wait, and the shorter is its turn: so the wait grows with the square
    /// root of their number.
    fn turn_of_grant(&self, now: Time) -> Duration {
        let since = self.contended_since.unwrap_or(now);
        let waited = now.saturating_sub(since).max(FULL_TURN_AFTER);
        FULL_TURN.mul_f64(FULL_TURN_AFTER.as_secs_f64() / waited.as_secs_f64())
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A slice of a wait has ended without a grant: to the end of the line.
    pub(crate) fn end_slice(&mut self) {
        self.slices = self.slices.saturating_add(1);
        self.turn = None;
    }

    pub(crate) fn slices(&self) -> u32 {
        self.slices
    }

    pub(crate) fn turn_or(&mut self, turn: impl FnOnce() -> Turn) -> Turn {
        *self.turn.get_or_insert_with(turn)
    }

    /// As far as the server is concerned nobody has waited yet.
    pub(crate) fn calm(&mut self) {
        self.attempt = 0;
        self.contended_since = None;
        self.slices = 0;
        self.turn = None;
        self.blocker = None;
    }

    /// Whether the server is to be asked who holds it: a wait has lasted for a while, and the last
    /// answer is old.
    pub(crate) fn wants_blocker(&self, now: Time) -> bool {
        let is_old = |at| now.saturating_sub(at) >= LOOK_AGAIN;
        let last = self.blocker.as_ref().map(|(_, at)| *at);
        self.slices >= LOOK_AFTER && last.is_none_or(is_old)
    }

    pub(super) fn set_blocker(&mut self, holder: Option<Holder>, now: Time) {
        self.blocker = Some((holder, now));
    }

    // The whole.

    /// Whether the session holds it, gives it back, or is asked for it.
    pub(super) fn knows(&self, session: SessionId) -> bool {
        self.is_held_on(session)
            || self.releasing.contains(&session)
            || self.ask.session() == Some(session)
    }

    /// The session has ended. Returns its grants with the numbers of their guards.
    pub(crate) fn forget_session(&mut self, session: SessionId) -> Vec<(GrantId, u64)> {
        self.releasing.retain(|releasing| *releasing != session);
        if self.ask.session() == Some(session) {
            self.ask = Ask::Nothing;
        }
        let lost = self.grants.extract_if(.., |grant| grant.session == session);
        lost.map(|grant| (grant.id, grant.guards)).collect()
    }

    pub(super) fn into_grants(self) -> impl Iterator<Item = (GrantId, u64)> {
        self.grants
            .into_iter()
            .map(|grant| (grant.id, grant.guards))
    }

    pub(super) fn is_unused(&self) -> bool {
        self.waiters.is_empty()
            && self.grants.is_empty()
            && self.releasing.is_empty()
            && self.ask == Ask::Nothing
    }

    /// Makes an unused entry as good as new.
    pub(super) fn reset(&mut self) {
        self.calm();
        self.waiters.shrink_to(FEW_WAITERS);
    }

    /// See [`check_invariants`](super::super::Machine::check_invariants).
    pub(crate) fn check(&self, is_inline: impl Fn(SessionId) -> bool) {
        let sorted = self.waiters.iter().is_sorted_by(|a, b| a.ticket < b.ticket);
        assert!(sorted, "waiters stand in line by ticket");
        let tries = self.waiters.iter().filter(|waiter| waiter.one_try).count();
        assert_eq!(tries, self.tries, "tries are counted");
        for (index, grant) in self.grants.iter().enumerate() {
            assert!(grant.guards > 0, "a grant has a guard");
            assert!(grant.guards == 1 || grant.mode.is_shareable());
            for other in &self.grants[..index] {
                assert!(grant.mode.coexists_with(other.mode), "grants coexist");
                let is_once = grant.session != other.session || is_inline(grant.session);
                assert!(is_once, "a session has a lock once");
            }
        }
        assert!(!self.is_unused(), "an unused key is forgotten");
    }
}

impl Grant {
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether it may still pass from holder to holder without the server.
    pub(crate) fn may_be_handed_over(&self, max: u32, now: Time) -> bool {
        self.handoffs < max && now.saturating_sub(self.granted_at) < self.turn
    }
}
