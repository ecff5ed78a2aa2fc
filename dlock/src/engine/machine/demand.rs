//! What callers want: a lock, no lock any more, to give one back, to know something.

use super::Machine;
use super::event::{
    Acquire, Command, GrantId, Inline, Inspection, Reply, Request, SessionId, Step, Ticket, Time,
};
use super::keys::{Ask, Dropped, Grant, HandOver, Waiter};
use super::sessions::Session;
use crate::key::PhysicalKey;
use crate::mode::Mode;

impl Machine {
    pub(super) fn acquire(&mut self, request: Acquire, step: &mut Step<'_>) {
        let Acquire {
            ticket,
            key,
            name,
            mode,
            deadline,
            one_try,
        } = request;
        if let Err(error) = self.admit(step.now) {
            return step.reply(ticket, Reply::Failed(error.into()));
        }
        let entry = self.keys.entry(&key);
        let is_awaited = match entry.ask() {
            Ask::Wait(session) => !is_overdue(&self.sessions, session, step.now),
            Ask::BackOff(_) => true,
            Ask::Nothing | Ask::Try(_) | Ask::Probe(_) => false,
        };
        if one_try && (is_awaited || entry.is_held_against(mode)) {
            return step.reply(ticket, Reply::Busy);
        }
        entry.call(name);
        entry.line_mut().push(Waiter {
            ticket,
            mode,
            deadline,
            one_try,
        });
        self.advance(&key, step);
    }

    pub(super) fn cancel(&mut self, ticket: Ticket, key: &PhysicalKey, step: &mut Step<'_>) {
        if is_planted!(self, ServeCancelledTicket) {
            return;
        }
        if let Some(entry) = self.keys.get_mut(key) {
            entry.line_mut().remove(ticket);
            self.advance(key, step);
        }
    }

    pub(super) fn release(
        &mut self,
        grant: GrantId,
        key: &PhysicalKey,
        confirm: Option<Ticket>,
        step: &mut Step<'_>,
    ) {
        let max = self.settings.max_local_handoffs;
        let is_unproved = is_planted!(self, HandOverWithoutProof);
        let sessions = &self.sessions;
        let hand_over = |grant: &Grant| match grant.may_be_handed_over(max, step.now) {
            _ if is_unproved => HandOver::Yes,
            true if sessions.is_inline(grant.session()) => HandOver::IfProved,
            true => HandOver::Yes,
            false => HandOver::No,
        };
        let dropped = match self.keys.get_mut(key) {
            Some(entry) => entry.drop_guard(grant, hand_over, step.now),
            None => Dropped::Unknown,
        };
        self.dropped(dropped, grant, key, confirm, step);
    }

    pub(super) fn dropped(
        &mut self,
        dropped: Dropped,
        grant: GrantId,
        key: &PhysicalKey,
        confirm: Option<Ticket>,
        step: &mut Step<'_>,
    ) {
        let was_held = match dropped {
            Dropped::Unknown => false,
            Dropped::Shared => true,
            Dropped::HandedOver(ticket, session) => {
                self.counters.acquired += 1;
                self.counters.handoffs += 1;
                step.reply(ticket, Reply::Granted { grant, session });
                self.advance(key, step);
                true
            }
            Dropped::Unproved(session) => {
                let key = key.clone();
                let prove = Inline::Prove {
                    grant,
                    key,
                    confirm,
                };
                return step.push(Command::Run(session, prove));
            }
            Dropped::Free(session, mode) => {
                let request = Request {
                    key: key.clone(),
                    mode,
                };
                self.give_back(session, grant, request, confirm, step);
                // It may have been this grant that was in the way.
                self.end_back_off(key);
                return self.advance(key, step);
            }
        };
        if let Some(ticket) = confirm {
            step.reply(ticket, Reply::Released(was_held));
        }
    }

    /// The session gives back a lock that the key's entry has as being released.
    pub(super) fn give_back(
        &mut self,
        id: SessionId,
        grant: GrantId,
        request: Request,
        confirm: Option<Ticket>,
        step: &mut Step<'_>,
    ) {
        let session = self.sessions.get_mut(id);
        let session = session.expect("BUG: a grant outlived its session");
        if session.is_inline() {
            session.has_lost();
            session.begin_run();
            let key = request.key;
            let release = Inline::Release {
                grant,
                key,
                confirm,
            };
            return step.push(Command::Run(id, release));
        }
        session.push_release(request, confirm);
        step.push(Command::Wake(id));
    }

    /// Brings a key to rest after anything has happened to it: serves the waiters that it can serve
    /// without the server, asks the server for the next, and forgets a key without any waiter.
    pub(super) fn advance(&mut self, key: &PhysicalKey, step: &mut Step<'_>) {
        loop {
            let Some(entry) = self.keys.get_mut(key) else {
                return;
            };
            let Some(mode) = entry.line().front_mode() else {
                return self.rest(key, step);
            };
            if entry.is_held_against(mode) {
                let is_try = entry.line().front().is_some_and(|front| front.one_try);
                entry.line_mut().refuse_tries(0..usize::MAX, |_| true, step);
                match is_try {
                    // The next in line may coexist with the holder.
                    true => continue,
                    false => return,
                }
            }
            if mode.is_shareable() && self.join(key, step) {
                continue;
            }
            let Some(entry) = self.keys.get_mut(key) else {
                return;
            };
            return match entry.ask() {
                Ask::Nothing => self.ask_server(key, step),
                Ask::Try(_) | Ask::Probe(_) => {
                    let served = entry.line().served_by_next_tries();
                    self.keys.refuse_tries(key, served..usize::MAX, step);
                }
                // Its answer is the one to a try, too.
                Ask::Wait(session) if is_overdue(&self.sessions, session, step.now) => {}
                Ask::Wait(session) if self.waits_for_another(session, mode) => {
                    step.push(Command::StopWait(session));
                }
                Ask::Wait(_) | Ask::BackOff(_) => self.keys.refuse_tries(key, 0..usize::MAX, step),
            };
        }
    }

    /// Whether the session waits for the key in another mode than the next in line wants.
    fn waits_for_another(&self, session: SessionId, mode: Mode) -> bool {
        let order = self
            .sessions
            .get(session)
            .and_then(|session| session.wait());
        order.is_some_and(|order| order.request.mode != mode)
    }

    /// Whether readers at the front have joined a grant.
    fn join(&mut self, key: &PhysicalKey, step: &mut Step<'_>) -> bool {
        let can_ask_elsewhere = self.can_ask_elsewhere(key, step.now);
        let Self { keys, sessions, .. } = self;
        let Some(entry) = keys.get_mut(key) else {
            return false;
        };
        let now = step.now;
        // Inline each reader has a handle of its own.
        let lives = |session| {
            let session = sessions.get(session);
            session.is_some_and(|session| session.lives(now) && !session.is_inline())
        };
        let joined = entry.join(can_ask_elsewhere, lives, step);
        self.counters.acquired += joined;
        joined > 0
    }

    /// Whether a session can be had that does not hold this key.
    fn can_ask_elsewhere(&self, key: &PhysicalKey, now: Time) -> bool {
        self.more_may_come(now) || self.session_for_try(key, now).is_some()
    }

    /// Asks for the lock by a try.
    fn ask_server(&mut self, key: &PhysicalKey, step: &mut Step<'_>) {
        let Some(entry) = self.keys.get(key) else {
            return;
        };
        // What a session gives back it can take again in the same round trip. What several give
        // back has to arrive first.
        let session = match *entry.releasing() {
            [] => self.session_for_try(key, step.now),
            [session] if self.sessions.get(session).is_some_and(Session::takes_again) => {
                Some(session)
            }
            _ => return,
        };
        if session.is_none() && !entry.grants().is_empty() && !self.can_ask_elsewhere(key, step.now)
        {
            return match entry.joinable() {
                Some(holder) => self.probe(key, holder, step),
                // It would be granted beside our own, but a session has a lock once only.
                None => self.await_another_session(key, step),
            };
        }
        let entry = self.keys.entry(key);
        let served = entry.line().served_by_next_tries();
        entry
            .line_mut()
            .refuse_tries(served..usize::MAX, |_| true, step);
        entry.set_ask(Ask::Try(session));
        match session.and_then(|id| Some((id, self.sessions.get_mut(id)?))) {
            Some((id, session)) if session.is_inline() => self.try_inline(id, key, step),
            Some((id, session)) => {
                session.push_try(key.clone());
                step.push(Command::Wake(id));
            }
            None => {
                self.unassigned.push_back(key.clone());
                self.open_for_demand(step);
            }
        }
    }

    fn await_another_session(&mut self, key: &PhysicalKey, step: &mut Step<'_>) {
        self.keys.refuse_tries(key, 0..usize::MAX, step);
        match self
            .keys
            .get(key)
            .and_then(|entry| entry.line().front_mode())
        {
            None => self.rest(key, step),
            Some(_) => self.back_off(key, step.now),
        }
    }

    /// Before a reader may join, the only session must show that it lives.
    fn probe(&mut self, key: &PhysicalKey, session: SessionId, step: &mut Step<'_>) {
        self.keys.entry(key).set_ask(Ask::Probe(session));
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.push_probe(key.clone());
            step.push(Command::Wake(session));
        }
    }

    /// No caller waits for this key. It is forgotten, unless something of it is left: a try that
    /// was not sent yet is left out when it is its turn.
    pub(super) fn rest(&mut self, key: &PhysicalKey, step: &mut Step<'_>) {
        let Some(entry) = self.keys.get_mut(key) else {
            return;
        };
        match entry.ask() {
            Ask::Nothing => entry.calm(),
            Ask::BackOff(turn) => {
                self.backoffs.remove(turn);
                entry.set_ask(Ask::Nothing);
                entry.calm();
            }
            Ask::Wait(session) => step.push(Command::StopWait(session)),
            Ask::Try(_) | Ask::Probe(_) => {}
        }
        if entry.is_unused() {
            self.keys.forget(key);
        }
    }

    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.to_meet.retain(|waiting| *waiting != ticket);
        self.inspections
            .retain(|inspection| inspection.ticket() != Some(ticket));
    }

    pub(super) fn meet(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        let reply = match self.admit(step.now) {
            Err(error) => Reply::Failed(error.into()),
            Ok(()) if self.sessions.any_is_up() => Reply::Met,
            Ok(()) => {
                self.to_meet.push(ticket);
                return self.open_for_demand(step);
            }
        };
        step.reply(ticket, reply);
    }

    pub(super) fn inspect(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        if let Err(error) = self.admit(step.now) {
            return step.reply(ticket, Reply::Failed(error.into()));
        }
        let inspection = Inspection::Question(ticket);
        let session = self.sessions.emptiest(|_| false);
        match session.and_then(|id| Some((id, self.sessions.get_mut(id)?))) {
            Some((id, session)) => {
                session.push_inspections([inspection]);
                step.push(Command::Wake(id));
            }
            None => {
                self.inspections.push(inspection);
                self.open_for_demand(step);
            }
        }
    }
}

fn is_overdue(sessions: &super::Sessions, session: SessionId, now: Time) -> bool {
    sessions
        .get(session)
        .is_some_and(|session| session.is_overdue(now))
}
