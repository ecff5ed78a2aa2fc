//! What sessions do: come up, answer, fail, end.

use super::Machine;
use super::event::{
    Answer, Answers, Batch, Command, Error, GrantId, Reply, Request, SessionId, Step, Ticket, Time,
    Traits,
};
use super::keys::Ask;
use crate::error::Phase as During;
use crate::key::PhysicalKey;

impl Machine {
    pub(super) fn session_up(&mut self, id: SessionId, traits: Traits, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return step.push(Command::CloseSession(id, None));
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
            return step.push(Command::CloseSession(id, Some(error.into())));
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
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.keep_room(in_flight);
        }
        if let Some(error) = doubt {
            // The rest of what it holds may be gone as well.
            self.session_lost(id, &error, step);
            return step.push(Command::CloseSession(id, Some(error.into())));
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
                self.fail(&request.key, &Reply::Failed(error.into()), step);
            }
        }
    }

    fn granted(&mut self, id: SessionId, grant: GrantId, request: &Request, step: &mut Step<'_>) {
        let Request { key, mode } = request;
        if let Some(session) = self.sessions.get_mut(id) {
            session.has_taken();
            if session.is_inline() && session.held() == 1 {
                // Its task slept, and pings from now on.
                step.push(Command::Wake(id));
            }
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
            entry.line_mut().refuse_answered(request.mode, last, step);
        }
        let front = entry.line().front();
        let waits = front.is_some_and(|front| !front.one_try && front.mode == request.mode);
        if !waits {
            return self.advance(key, step);
        }
        self.keys.refuse_tries(key, 0..usize::MAX, step);
        self.back_off(key, step.now);
    }

    fn fail(&mut self, key: &PhysicalKey, reply: &Reply, step: &mut Step<'_>) {
        self.keys.entry(key).line_mut().fail_front(reply, step);
        self.advance(key, step);
    }

    /// Hands tries that no session has taken to those that have room.
    pub(super) fn assign(&mut self, step: &mut Step<'_>) {
        for key in std::mem::take(&mut self.unassigned) {
            self.keys.withdraw_unassigned(&key);
            self.advance(&key, step);
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
    pub(super) fn session_for_try(&self, key: &PhysicalKey, now: Time) -> Option<SessionId> {
        let entry = self.keys.get(key);
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
