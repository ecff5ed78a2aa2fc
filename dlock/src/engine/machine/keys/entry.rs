//! One key: what is asked about it, which sessions hold it.

use std::time::Duration;

use super::contention::Contention;
use super::line::Line;
use crate::engine::machine::backoff::Turn;
use crate::engine::machine::event::{GrantId, Lost, Reply, SessionId, Step, Ticket, Time};
use crate::error::HeldBy;
use crate::key::Key;
use crate::mode::Mode;

/// For this long after a grant readers may join, and for this long a reply proves that its session
/// lives.
pub(crate) const TENURE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// What the first of its callers calls the key.
    name: Option<Key>,
    line: Line,
    contention: Contention,
    /// One exclusive, or any number that coexist, each on a session of its own.
    grants: Vec<Grant>,
    /// Sessions that give the key back.
    releasing: Vec<SessionId>,
    ask: Ask,
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
    /// When the first of its guards got it.
    guarded_since: Time,
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
    pub(crate) fn name(&self) -> Option<&Key> {
        self.name.as_ref()
    }

    pub(crate) fn call(&mut self, name: Key) {
        self.name.get_or_insert(name);
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    pub(crate) fn line_mut(&mut self) -> &mut Line {
        &mut self.line
    }

    pub(crate) fn contention(&self) -> &Contention {
        &self.contention
    }

    pub(crate) fn contention_mut(&mut self) -> &mut Contention {
        &mut self.contention
    }

    /// As far as the server is concerned no caller has waited yet.
    pub(crate) fn calm(&mut self) {
        self.contention = Contention::default();
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

    /// The holder that keeps a request of this mode waiting, as far as it is known.
    pub(crate) fn held_by(&self, mode: Mode, now: Time) -> Option<HeldBy> {
        let in_the_way = self
            .grants
            .iter()
            .filter(|grant| !grant.mode.coexists_with(mode));
        match in_the_way.map(|grant| grant.guarded_since).min() {
            Some(since) => Some(HeldBy::ThisProcess {
                held_for: now.saturating_sub(since),
            }),
            None => self.contention.blocker(now).map(HeldBy::Session),
        }
    }

    /// The mode that the server is to be asked for, if it is to be asked at all.
    pub(crate) fn wanted(&self) -> Option<Mode> {
        let mode = self.line.front_mode()?;
        (!self.is_held_against(mode)).then_some(mode)
    }

    /// The server has granted a lock. It serves the first waiter, and where it can be shared all
    /// others of this mode up to the next of another. Returns how many, which may be none.
    pub(crate) fn grant(
        &mut self,
        id: GrantId,
        session: SessionId,
        mode: Mode,
        step: &mut Step<'_>,
    ) -> u64 {
        let turn = self.contention.turn_of_grant(step.now);
        self.calm();
        self.grants.push(Grant {
            id,
            session,
            mode,
            guards: 0,
            granted_at: step.now,
            guarded_since: step.now,
            handoffs: 0,
            turn,
        });
        self.serve(self.grants.len() - 1, step)
    }

    /// A lock that no caller wants any more is given back.
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
        let mode = self.line.front_mode();
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
        let mode = self.line.front_mode().filter(|mode| mode.is_shareable())?;
        let grant = self.grants.iter().find(|grant| grant.mode == mode)?;
        Some(grant.session)
    }

    /// Gives a grant to those at the front whose mode it has.
    fn serve(&mut self, index: usize, step: &mut Step<'_>) -> u64 {
        let Grant {
            id, session, mode, ..
        } = self.grants[index];
        let mut served = 0;
        while self.line.front_mode() == Some(mode)
            && (self.grants[index].guards == 0 || mode.is_shareable())
            && let Some(waiter) = self.line.pop()
        {
            self.grants[index].guards += 1;
            served += 1;
            step.reply(waiter.ticket, Reply::Granted { grant: id, session });
        }
        served
    }

    /// A guard is gone. The next waiter may get its lock without the server, so often and so soon
    /// after the server's grant that a reply of its session is younger than a tenure.
    pub(crate) fn drop_guard(
        &mut self,
        id: GrantId,
        hand_over: impl Fn(&Grant) -> HandOver,
        now: Time,
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
        if self.line.front_mode() == Some(mode) && !mode.is_shareable() {
            match hand_over(&self.grants[index]) {
                HandOver::IfProved => return Dropped::Unproved(session),
                HandOver::Yes => {
                    if let Some(waiter) = self.line.pop() {
                        self.grants[index].handoffs += 1;
                        self.grants[index].guarded_since = now;
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

    /// A lock is gone.
    pub(crate) fn lose(&mut self, id: GrantId) -> Option<Lost> {
        let index = self.grants.iter().position(|grant| grant.id == id)?;
        let lost = self.grants.swap_remove(index);
        Some(lost.into_lost(self.name.clone()))
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

    // The whole.

    /// Whether the session holds it, gives it back, or is asked for it.
    pub(super) fn knows(&self, session: SessionId) -> bool {
        self.is_held_on(session)
            || self.releasing.contains(&session)
            || self.ask.session() == Some(session)
    }

    /// The session has ended. Returns its grants.
    pub(crate) fn forget_session(&mut self, session: SessionId) -> Vec<Lost> {
        self.releasing.retain(|releasing| *releasing != session);
        if self.ask.session() == Some(session) {
            self.ask = Ask::Nothing;
        }
        let lost = self.grants.extract_if(.., |grant| grant.session == session);
        lost.map(|grant| grant.into_lost(self.name.clone()))
            .collect()
    }

    pub(super) fn into_grants(self) -> impl Iterator<Item = Lost> {
        let Self { grants, name, .. } = self;
        let grants = grants.into_iter();
        grants.map(move |grant| grant.into_lost(name.clone()))
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.line.is_empty()
            && self.grants.is_empty()
            && self.releasing.is_empty()
            && self.ask == Ask::Nothing
    }

    /// Makes an unused entry as good as new.
    pub(super) fn reset(&mut self) {
        self.name = None;
        self.calm();
        self.line.shrink();
    }

    /// See [`check_invariants`](super::super::Machine::check_invariants).
    #[cfg(test)]
    pub(crate) fn check(&self, is_inline: impl Fn(SessionId) -> bool) {
        self.line.check();
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
    fn into_lost(self, name: Option<Key>) -> Lost {
        let Self {
            id,
            session,
            guards,
            ..
        } = self;
        Lost {
            grant: id,
            session,
            guards,
            name,
        }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether it may still pass from holder to holder without the server.
    pub(crate) fn may_be_handed_over(&self, max: u32, now: Time) -> bool {
        self.handoffs < max && now.saturating_sub(self.granted_at) < self.turn
    }
}
