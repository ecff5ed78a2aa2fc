//! What sessions do: come up, answer, fail, end.

use std::time::Duration;

use super::backoff::Turn;
use super::event::{
    Answer, Answers, Batch, Command, Error, GrantId, Inspection, Reply, Request, SessionId, Step,
    Ticket, Time, Traits,
};
use super::keys::Ask;
use super::next::slice_for;
use super::sessions::WaitOrder;
use super::{Machine, Phase, QUARANTINE};
use crate::error::Phase as During;
use crate::key::PhysicalKey;

impl Machine {
    pub(super) fn session_up(&mut self, id: SessionId, traits: Traits, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return step.push(Command::CloseSession(id));
        };
        session.up(traits, step.now);
        session.push_inspections(self.inspections.drain(..));
        self.sessions.admit();
        self.counters.sessions_opened += 1;
        let met = self.to_meet.drain(..);
        step.extend(met.map(|ticket| Command::Reply(ticket, Reply::Met)));
        step.push(Command::Wake(id));
        self.assign(step);
        self.put_to_wait(step);
    }

    /// A session could not be opened. The others carry on; without any, all callers get the error.
    pub(super) fn open_failed(&mut self, id: SessionId, error: &Error, step: &mut Step<'_>) {
        if self.sessions.remove(id).is_none() {
            return;
        }
        self.counters.sessions_refused += 1;
        if self.sessions.is_empty() {
            return self.refuse_all(error, step);
        }
        self.sessions.refuse(step.now);
        self.assign(step);
        let inspections = std::mem::take(&mut self.inspections);
        if let Some((id, session)) = self
            .sessions
            .iter_mut()
            .find(|(_, session)| session.is_up())
        {
            session.push_inspections(inspections);
            step.push(Command::Wake(id));
        } else {
            self.inspections = inspections;
        }
    }

    pub(super) fn pinged(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.sessions.replied(id, step.now) else {
            return;
        };
        session.pinged(step.now);
        self.answer_probes(id, step);
        // It may have become free to wait.
        self.put_to_wait(step);
    }

    /// Any reply proves that the session lives.
    fn answer_probes(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        for key in session.take_probes() {
            self.keys.entry(&key).set_ask(Ask::Nothing);
            self.advance(&key, step);
        }
    }

    /// The session is as good as before, and others may ask on it.
    pub(super) fn inspected(&mut self, id: SessionId, now: Time) {
        self.sessions.replied(id, now);
    }

    pub(super) fn answered(&mut self, id: SessionId, answers: Answers, step: &mut Step<'_>) {
        let Some(session) = self.sessions.replied(id, step.now) else {
            return;
        };
        if !session.fits(&answers) {
            let error = During::Acquire.unreadable();
            self.session_lost(id, &error, step);
            return step.push(Command::CloseSession(id));
        }
        let Some(mut in_flight) = session.take_in_flight(step.now) else {
            return;
        };
        let Batch { releases, tries } = &*in_flight.batch;
        let confirms = in_flight.confirms.drain(..);
        let mut doubt = None;
        for ((request, confirm), answer) in releases.iter().zip(confirms).zip(answers.releases) {
            let was_held = matches!(answer, Answer::Yes);
            if !was_held {
                doubt = Some(not_held(request, answer));
            }
            let reply = |ticket| Command::Reply(ticket, Reply::Released(was_held));
            step.extend(confirm.map(reply));
            self.keys.entry(&request.key).end_release(id);
        }
        for (request, answer) in tries.iter().zip(answers.tries) {
            self.keys.entry(&request.key).set_ask(Ask::Nothing);
            let grant = GrantId(self.next_id());
            let last = in_flight.last_ticket;
            self.tried(id, grant, request, answer, last, step);
        }
        for request in releases {
            self.advance(&request.key, step);
            self.keys.forget_unused(&request.key);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.keep_room(in_flight);
        }
        if let Some(error) = doubt {
            // The rest of what it holds may be gone as well.
            self.session_lost(id, &error, step);
            return step.push(Command::CloseSession(id));
        }
        self.answer_probes(id, step);
        // Not before every answer is known: what was granted here makes this session one that
        // holds.
        self.put_to_wait(step);
        self.open_for_demand(step);
    }

    pub(super) fn tried(
        &mut self,
        id: SessionId,
        grant: GrantId,
        request: &Request,
        answer: Answer,
        last: Option<Ticket>,
        step: &mut Step<'_>,
    ) {
        match answer {
            Answer::Yes => self.granted(id, grant, request, step),
            Answer::No => self.busy(request, last, step),
            Answer::Deadlock => self.fail(&request.key, &Reply::Deadlock, step),
            Answer::Failed(error) => {
                let error = During::Acquire.failed(error);
                self.fail(&request.key, &Reply::Failed(error), step);
            }
        }
    }

    fn granted(&mut self, id: SessionId, grant: GrantId, request: &Request, step: &mut Step<'_>) {
        let Request { key, mode } = request;
        if let Some(session) = self.sessions.get_mut(id) {
            session.has_taken();
        }
        let entry = self.keys.entry(key);
        let served = entry.grant(grant, id, *mode, step);
        self.counters.acquired += served;
        if served == 0 {
            entry.withdraw(grant);
            if !is_planted!(self, KeepLateGrant) {
                self.keys.entry(key).begin_release(id);
                self.give_back(id, grant, request.clone(), None, step);
            }
        }
        self.advance(key, step);
    }

    /// Another process has it: the tries that had asked get `Busy`, the others wait for a session
    /// that can wait on the server, or for the next try.
    fn busy(&mut self, request: &Request, last: Option<Ticket>, step: &mut Step<'_>) {
        self.counters.contended += 1;
        let key = &request.key;
        let entry = self.keys.entry(key);
        if let Some(last) = last {
            entry.refuse_answered(request.mode, last, step);
        }
        let front = entry.front();
        let waits = front.is_some_and(|front| !front.one_try && front.mode == request.mode);
        if !waits {
            return self.advance(key, step);
        }
        self.keys.refuse_tries(key, 0..usize::MAX, step);
        self.back_off(key, step.now);
    }

    fn fail(&mut self, key: &PhysicalKey, reply: &Reply, step: &mut Step<'_>) {
        self.keys.entry(key).fail_front(reply, step);
        self.advance(key, step);
    }

    /// Nothing is asked about this key for a while, or until a session can wait for it.
    pub(super) fn back_off(&mut self, key: &PhysicalKey, now: Time) {
        let attempt = self.keys.entry(key).next_attempt(now);
        let until = now + self.jitter(attempt);
        self.put_off(key, until);
    }

    pub(super) fn put_off(&mut self, key: &PhysicalKey, until: Time) {
        let next = Turn(self.next_id());
        let entry = self.keys.entry(key);
        let turn = entry.turn_or(|| next);
        entry.set_ask(Ask::BackOff(turn));
        let is_starved = turn.0.is_multiple_of(4) && is_planted!(self, StarveKey);
        let until = if is_starved { Time::MAX } else { until };
        self.backoffs.insert(turn, until, key.clone());
    }

    /// It is tried for, or waited for, or nobody wants it any more.
    pub(super) fn end_back_off(&mut self, key: &PhysicalKey) {
        if let Some(entry) = self.keys.get_mut(key)
            && let Ask::BackOff(turn) = entry.ask()
        {
            entry.set_ask(Ask::Nothing);
            self.backoffs.remove(turn);
        }
    }

    /// 5 ms at first, doubled with each try up to a quarter of a second, each time between half of
    /// it and the whole.
    fn jitter(&mut self, attempt: u32) -> Duration {
        let ceiling = Duration::from_millis(5 << attempt.min(6)).min(Duration::from_millis(250));
        ceiling.mul_f64(0.5 + 0.5 * self.rng.f64())
    }

    /// A slice of a wait has ended. `None`: it was stopped before.
    pub(super) fn wait_ended(
        &mut self,
        id: SessionId,
        grant: GrantId,
        answer: Option<Answer>,
        step: &mut Step<'_>,
    ) {
        let Some(session) = self.sessions.replied(id, step.now) else {
            if let Some(Answer::Yes) = answer {
                // The handle of an inline session that was forgotten in between.
                step.push(Command::Lose(grant));
            }
            return;
        };
        session.touch(step.now);
        let Some(order) = session.take_wait() else {
            return;
        };
        let WaitOrder {
            request,
            grant,
            until,
        } = order;
        let is_over = until.is_some_and(|until| until <= step.now);
        let answer = answer.or_else(|| is_over.then_some(Answer::No));
        let tells_holders = session.tells_holders();
        let is_in_demand = !self.backoffs.is_empty() || !self.unassigned.is_empty();
        let entry = self.keys.entry(&request.key);
        if let Some(Answer::No) = answer {
            // Of another mode, a try may succeed.
            entry.refuse_answered(request.mode, Ticket(u64::MAX), step);
        }
        let still_wanted = entry.wanted() == Some(request.mode);
        let again = match &answer {
            // For what is left of the slice.
            None => Some(until),
            Some(Answer::No) => {
                entry.end_slice();
                (!is_in_demand).then_some(None)
            }
            Some(_) => None,
        };
        let looks = still_wanted && tells_holders && entry.wants_blocker(step.now);
        let again = again.filter(|_| still_wanted);
        if again.is_none() {
            entry.set_ask(Ask::Nothing);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            if looks && matches!(answer, Some(Answer::No)) {
                session.push_inspections([Inspection::Blocker(request.key.clone())]);
            }
            if let Some(until) = again {
                // The wait goes on, and is no answer to a try that came when it should have ended.
                self.keys.refuse_tries(&request.key, 0..usize::MAX, step);
                return session.order_wait(WaitOrder {
                    request,
                    grant,
                    until,
                });
            }
        }
        match answer {
            Some(Answer::No) if still_wanted => self.wait_later(&request.key, step.now),
            Some(Answer::No) | None => self.advance(&request.key, step),
            Some(answer) => self.tried(id, grant, &request, answer, None, step),
        }
        self.assign(step);
        self.put_to_wait(step);
    }

    fn wait_later(&mut self, key: &PhysicalKey, now: Time) {
        let attempt = self.keys.entry(key).attempt();
        let until = now + self.jitter(attempt);
        self.put_off(key, until);
    }

    /// Tries again what was put off until now.
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        while let Some(key) = self.backoffs.due(step.now) {
            self.end_back_off(&key);
            self.advance(&key, step);
        }
        if !self.sessions.is_refused(step.now) {
            self.sessions.admit();
        }
        self.assign(step);
        self.open_for_demand(step);
    }

    /// Hands tries that no session has taken to those that have room.
    pub(super) fn assign(&mut self, step: &mut Step<'_>) {
        for key in std::mem::take(&mut self.unassigned) {
            self.keys.withdraw_unassigned(&key);
            self.advance(&key, step);
        }
    }

    /// Lets keys in back-off wait on sessions that have become free, in turn.
    pub(super) fn put_to_wait(&mut self, step: &mut Step<'_>) {
        while !self.backoffs.is_empty()
            && let Some(session) = self.sessions.to_wait_on()
            && let Some(key) = self.next_in_line(step.now)
        {
            self.end_back_off(&key);
            self.wait_on(session, &key, step);
        }
    }

    /// The first for which there is time to wait.
    fn next_in_line(&self, now: Time) -> Option<PhysicalKey> {
        let mut line = self.backoffs.in_line();
        let has_time = |key: &&PhysicalKey| {
            self.keys
                .get(key)
                .is_some_and(|entry| slice_for(entry, now).is_some())
        };
        line.find(has_time).cloned()
    }

    fn wait_on(&mut self, id: SessionId, key: &PhysicalKey, step: &mut Step<'_>) {
        let entry = self.keys.entry(key);
        let Some(mode) = entry.wanted() else {
            return self.advance(key, step);
        };
        entry.set_ask(Ask::Wait(id));
        let request = Request {
            key: key.clone(),
            mode,
        };
        let grant = GrantId(self.next_id());
        if let Some(session) = self.sessions.get_mut(id) {
            session.order_wait(WaitOrder {
                request,
                grant,
                until: None,
            });
            step.push(Command::Wake(id));
        }
    }

    /// Opens as many sessions as the demand wants and the settings allow.
    pub(super) fn open_for_demand(&mut self, step: &mut Step<'_>) {
        if self.is_closing() {
            return;
        }
        let tries = self.unassigned.len() + self.inspections.len();
        let for_tries = tries.div_ceil(self.settings.max_locks_per_session.get());
        let to_meet = usize::from(!self.to_meet.is_empty());
        // While a session is free, there is no time left to wait for the keys in back-off.
        let for_waits = match self.sessions.to_wait_on() {
            Some(_) => 0,
            None => self.backoffs.len().min(self.settings.max_sessions),
        };
        let wanted = for_tries.max(to_meet) + for_waits;
        let missing = wanted.saturating_sub(self.sessions.opening());
        let room = self
            .settings
            .max_sessions
            .saturating_sub(self.sessions.len());
        // Without any session there is nothing to carry on with, so the server is asked at once.
        if self.sessions.is_refused(step.now) && !self.sessions.is_empty() {
            return;
        }
        for _ in 0..missing.min(room) {
            let id = SessionId(self.next_id());
            self.sessions.open(id, step.now);
            step.push(Command::Open(id));
        }
    }

    /// The session for a try; none while a further one can be had. A session has a lock once, but
    /// an inline one has a handle for each grant.
    pub(super) fn session_for_try(
        &self,
        key: Option<&PhysicalKey>,
        now: Time,
    ) -> Option<SessionId> {
        let entry = key.and_then(|key| self.keys.get(key));
        let is_out = |session| {
            let is_held = entry.is_some_and(|entry| entry.is_held_on(session));
            is_held && !self.sessions.is_inline(session)
        };
        let max = self.settings.max_locks_per_session.get();
        let with_room = self.sessions.with_room(max, is_out);
        if with_room.is_some() || self.more_may_come(now) {
            return with_room;
        }
        self.sessions.emptiest(is_out)
    }

    /// Whether a further session can be had, or is on its way.
    pub(super) fn more_may_come(&self, now: Time) -> bool {
        let has_room = self.sessions.len() < self.settings.max_sessions;
        has_room && !self.sessions.is_refused(now) || self.sessions.opening() > 0
    }

    /// A session has ended, and its locks with it. What was asked of it is asked anew. When one
    /// after the other dies before its first reply, that is an error, so that this does not go on
    /// forever.
    pub(super) fn session_lost(&mut self, id: SessionId, error: &Error, step: &mut Step<'_>) {
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        self.counters.sessions_lost += 1;
        let gives_up = session.is_stillborn() && self.sessions.note_stillborn(step.now);
        let keys = self.keys.of_session(id);
        for key in &keys {
            for (grant, guards) in self.keys.entry(key).forget_session(id) {
                self.counters.lost += guards;
                step.push(Command::Lose(grant));
            }
        }
        for inspection in session.take_inspections() {
            let reply = |ticket| Command::Reply(ticket, Reply::Failed(error.clone()));
            step.extend(inspection.ticket().map(reply));
        }
        let lost = |ticket| Command::Reply(ticket, Reply::Released(false));
        step.extend(session.into_confirms().into_iter().map(lost));
        if gives_up {
            self.refuse_all(error, step);
        }
        if is_planted!(self, ForgetRequeueAfterLoss) {
            return;
        }
        for key in keys {
            self.advance(&key, step);
        }
    }

    /// The address leads elsewhere, too: every session proves that its own server still answers.
    pub(super) fn prove_all(&mut self, step: &mut Step<'_>) {
        for (id, session) in self
            .sessions
            .iter_mut()
            .filter(|(_, session)| session.is_up())
        {
            session.must_prove();
            step.push(Command::Wake(id));
        }
    }

    /// No answer of the pool's sessions counts any more, by what this session has met.
    pub(super) fn refused(&mut self, id: SessionId, error: &Error, step: &mut Step<'_>) {
        if self.sessions.get(id).is_none() {
            return;
        }
        if !self.is_closing() {
            self.phase = Phase::Quarantine(error.clone(), step.now + QUARANTINE);
        }
        self.refuse_all(error, step);
        let sessions: Vec<_> = self.sessions.ids().collect();
        for id in sessions {
            self.session_lost(id, error, step);
            step.push(Command::CloseSession(id));
        }
        self.sessions.forgive_stillborn();
    }
}

/// Why a session is not trusted any more that has answered so to a release.
fn not_held(request: &Request, answer: Answer) -> Error {
    let source = match answer {
        Answer::Failed(error) => error,
        Answer::Yes | Answer::No | Answer::Deadlock => {
            return Error::not_held(&request.key);
        }
    };
    During::Release.failed(source)
}
