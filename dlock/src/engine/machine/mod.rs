//! The lock pool as a pure state machine: events in, commands out.
//!
//! The machine does no I/O, reads no clock and owns no channel. Callers are [`Ticket`]s, time is a
//! [`Time`] since the machine began, and chance comes from a generator that is seeded once. So one
//! seed of the [`simulation`] is one run, and a change of the state cannot be dropped half-way.
//!
//! Each fact has one owner:
//!
//! | fact | owner |
//! |---|---|
//! | the waiters of a key, what is asked about it, which session holds it | its entry in [`keys`] |
//! | what a session has to do, what it was sent, how much it holds | its entry in [`sessions`] |
//! | when a key is tried again, and which key waits next | [`backoff`] |
//!
//! A session's mailbox has the order in which it does what the entries of the keys ask of it;
//! `check_invariants` compares the two after every event of a simulation. What a lost session held
//! is found by a scan of all keys, since sessions are seldom lost.

/// Whether this rule of the machine was swapped for a wrong one, to see that the simulation finds
/// it.
macro_rules! is_planted {
    ($machine:expr, $bug:ident) => {{
        #[cfg(test)]
        let is_planted = $machine.bug == Some(super::simulation::Bug::$bug);
        #[cfg(not(test))]
        let is_planted = false;
        is_planted
    }};
}

mod backoff;
#[cfg(test)]
mod check;
mod demand;
mod event;
mod inline;
mod keys;
mod loss;
mod next;
mod queries;
#[cfg(test)]
mod scenarios;
mod sessions;
#[cfg(test)]
mod simulation;
mod supply;
mod waits;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;

use self::backoff::BackOffs;
pub(super) use self::event::{
    Acquire, Command, Event, GrantId, Inline, Inspection, Job, Lost, Reply, SessionId, Ticket,
    Time, Traits,
};
use self::event::{Error, Step};
use self::keys::Keys;
pub(super) use self::queries::Census;
pub(crate) use self::sessions::MAX_STILLBORN;
use self::sessions::Sessions;
pub(crate) use self::waits::{backoff, longest_slice, next_slice};
use super::Counters;
use crate::key::PhysicalKey;

/// What the machine must know of the settings of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_sessions: usize,
    pub(crate) max_locks_per_session: NonZeroUsize,
    pub(crate) max_local_handoffs: u32,
    pub(crate) idle_timeout: Duration,
    /// After so much silence a session is pinged, and it is given up after as much again.
    pub(crate) silence: Duration,
}

/// A pool's state.
#[derive(Debug)]
pub(super) struct Machine {
    settings: Settings,
    rng: Rng,
    last_id: u64,
    keys: Keys,
    sessions: Sessions,
    backoffs: BackOffs,
    /// Keys whose next try no session has taken yet.
    unassigned: VecDeque<PhysicalKey>,
    /// Inspections that no session has taken yet.
    inspections: Vec<Inspection>,
    /// Callers that wait for any session to be open.
    to_meet: Vec<Ticket>,
    phase: Phase,
    counters: Counters,
    #[cfg(test)]
    bug: Option<simulation::Bug>,
}

/// Whether requests are admitted.
#[derive(Debug)]
enum Phase {
    Open,
    /// The pool was refused: until then requests get this error.
    Quarantine(Error, Time),
    Closing,
}

/// After the pool was refused, requests get the error for this long. A proxy that moves sessions
/// may leave a lock behind each time, so it gets few occasions.
const QUARANTINE: Duration = Duration::from_secs(10);

impl Machine {
    /// `seed`: for the jitter of retries.
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            rng: Rng::with_seed(seed),
            last_id: 0,
            keys: Keys::new(seed),
            sessions: Sessions::default(),
            backoffs: BackOffs::default(),
            unassigned: VecDeque::new(),
            inspections: Vec::new(),
            to_meet: Vec::new(),
            phase: Phase::Open,
            counters: Counters::default(),
            #[cfg(test)]
            bug: None,
        }
    }

    /// Counts what has happened outside of the machine.
    pub(super) fn count(&mut self, what: impl FnOnce(&mut Counters)) {
        what(&mut self.counters);
    }

    /// The next caller's ticket. It is drawn and handed in without letting go of the machine in
    /// between, so that tickets come in order.
    pub(super) fn ticket(&mut self, slot: usize) -> Ticket {
        Ticket::new(self.next_id(), slot)
    }

    /// Every change of the state but [`next`](Self::next).
    pub(super) fn handle(&mut self, event: Event, now: Time, commands: &mut Vec<Command>) {
        let step = &mut Step::new(now, commands);
        match event {
            Event::Acquire(request) => self.acquire(request, step),
            Event::Cancel { ticket, key } => self.cancel(ticket, &key, step),
            Event::Leave(ticket) => self.leave(ticket),
            Event::Release {
                grant,
                key,
                confirm,
            } => self.release(grant, &key, confirm, step),
            Event::Meet(ticket) => self.meet(ticket, step),
            Event::Inspect(ticket) => self.inspect(ticket, step),
            Event::SessionUp { session, traits } => self.session_up(session, traits, step),
            Event::OpenFailed { session, error } => self.open_failed(session, &error, step),
            Event::Answered { session, answers } => self.answered(session, answers, step),
            Event::WaitEnded {
                session,
                grant,
                answer,
            } => self.wait_ended(session, grant, answer, step),
            Event::Tried {
                session,
                grant,
                request,
                answer,
            } => self.tried_inline(session, grant, &request, answer, step),
            Event::Proved {
                grant,
                key,
                confirm,
                is_held,
            } => self.proved(grant, &key, confirm, is_held, step),
            Event::Returned {
                session,
                key,
                confirm,
                was_held,
            } => self.returned(session, &key, confirm, was_held, step),
            Event::GrantLost { grant, key } => self.grant_lost(grant, &key, step),
            Event::Pinged(session) => self.pinged(session, step),
            Event::Inspected(session) => self.inspected(session, now),
            Event::BlockerFound { key, holder } => self.keys.set_blocker(&key, holder, now),
            Event::SessionLost { session, error } => self.session_lost(session, &error, step),
            Event::Disputed => self.prove_all(step),
            Event::Refused { session, error } => self.refused(session, &error, step),
            Event::RuntimeEnded => self.runtime_ended(step),
            Event::Tick => self.tick(step),
            Event::Close => self.close(step),
            Event::Abandon => self.abandon(step),
        }
    }

    /// When the next [`Event::Tick`] is due.
    pub(super) fn next_timer(&self) -> Option<Time> {
        let wanted =
            !self.unassigned.is_empty() || !self.inspections.is_empty() || !self.to_meet.is_empty();
        let reopen = self.sessions.refused_until().filter(|_| wanted);
        [self.backoffs.next(), reopen].into_iter().flatten().min()
    }

    /// Forgets everything and is closed, after a panic left it in a state that may be wrong.
    pub(super) fn reset(&mut self) {
        let fresh = Self::new(self.settings.clone(), self.rng.u64(..));
        *self = Self {
            last_id: self.last_id,
            counters: self.counters,
            phase: Phase::Closing,
            ..fresh
        };
    }

    /// No session is left, and none will be opened.
    pub(super) fn is_drained(&self) -> bool {
        matches!(self.phase, Phase::Closing) && self.sessions.is_empty()
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// New requests are refused, waiters are refused, sessions close after their last lock.
    fn close(&mut self, step: &mut Step<'_>) {
        self.phase = Phase::Closing;
        self.refuse_all(&Error::PoolClosed, step);
        // A session that waits holds nothing: it ends instead of waiting on.
        for id in self.sessions.waiting() {
            self.sessions.remove(id);
            self.counters.sessions_closed += 1;
            for key in self.keys.of_session(id) {
                self.keys.entry(&key).forget_session(id);
                self.rest(&key, step);
            }
            step.push(Command::CloseSession(id, None));
        }
        step.extend(self.sessions.ids().map(Command::Wake));
    }

    /// The guards that are left lose their locks, and all sessions close.
    fn abandon(&mut self, step: &mut Step<'_>) {
        self.close(step);
        let sessions: Vec<_> = self.sessions.ids().collect();
        self.lose_all(step);
        let close = |id| Command::CloseSession(id, None);
        step.extend(sessions.into_iter().map(close));
    }

    /// The tasks of all sessions were dropped with their runtime. Waiters begin anew on another
    /// one.
    fn runtime_ended(&mut self, step: &mut Step<'_>) {
        self.reply_to_all(&Reply::Restart, step);
        self.lose_all(step);
        self.backoffs.clear();
    }

    /// Forgets all keys and sessions.
    fn lose_all(&mut self, step: &mut Step<'_>) {
        let grants = self.keys.drain();
        self.counters.lost += grants.iter().map(|lost| lost.guards).sum::<u64>();
        step.extend(grants.into_iter().map(Command::Lose));
        self.unassigned.clear();
        let lost = |ticket| Command::Reply(ticket, Reply::Released(false));
        step.extend(self.sessions.drain().into_iter().map(lost));
    }

    /// Replies to every caller that waits. Requests that were not sent yet are withdrawn.
    fn reply_to_all(&mut self, reply: &Reply, step: &mut Step<'_>) {
        let mut tickets = std::mem::take(&mut self.to_meet);
        for inspection in std::mem::take(&mut self.inspections) {
            tickets.extend(inspection.ticket());
        }
        for inspection in self.sessions.take_inspections() {
            tickets.extend(inspection.ticket());
        }
        step.extend(
            tickets
                .into_iter()
                .map(|ticket| Command::Reply(ticket, reply.clone())),
        );
        self.keys.reply_to_all(reply, step);
    }

    fn refuse_all(&mut self, error: &Error, step: &mut Step<'_>) {
        self.reply_to_all(&Reply::Failed(error.clone().into()), step);
        self.unassigned.clear();
        for key in self.keys.sorted() {
            self.keys.withdraw_unassigned(&key);
            self.rest(&key, step);
        }
    }
}
