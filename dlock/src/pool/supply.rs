//! What sessions do to the pool's state: come up, answer. See `state`.

use sea_orm::DbErr;
use tokio::time::Instant;

use super::jobs::slice_for;
use super::queue::{Ask, Hold, Refusal, SessionId, TicketId};
use super::sessions::{Inspect, SessionEntry, WaitOrder};
use super::state::State;
use crate::backend::{Answer, Answers, Batch, Request, Session, SessionError};
use crate::error::Phase;
use crate::key::PhysicalKey;
use crate::server_lock::Holder;

impl State {
    pub(crate) fn session_ready(&mut self, id: SessionId, opened: &dyn Session, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.ready = true;
        session.link.opened(opened.number());
        let capabilities = opened.capabilities();
        session.can_wait = capabilities.waits;
        session.tells_holders = capabilities.tells_holders;
        session.heartbeat = capabilities.heartbeat;
        session.local = opened.inline();
        self.is_local = session.local.is_some();
        session.last_reply = now;
        session.last_ping = now;
        session.idle_since = now;
        session.inspections.append(&mut self.inspections);
        for meet in self.to_meet.drain(..) {
            // Whoever asked may be gone.
            drop(meet.send(Ok(())));
        }
        self.counters.sessions_opened += 1;
        self.refused_until = None;
        self.assign(now);
        self.put_to_wait(now);
    }

    /// Hands tries that wait for a session to those that have room.
    pub(crate) fn assign(&mut self, now: Instant) {
        for request in std::mem::take(&mut self.unassigned) {
            let queue = self
                .keys
                .get_mut(&request.key)
                .expect("BUG: it was asked for");
            queue.ask = None;
            self.settle(&request.key, now);
        }
    }

    /// Lets keys in back-off wait on sessions that have become free, in turn.
    pub(crate) fn put_to_wait(&mut self, now: Instant) {
        while !self.retries.is_empty()
            && let Some(session) = self.session_for_wait()
            && let Some(key) = self.next_in_line(now)
        {
            self.end_back_off(&key);
            self.wait_on(session, &key, now);
        }
    }

    /// The first for which there is time to wait.
    fn next_in_line(&self, now: Instant) -> Option<PhysicalKey> {
        let mut line = self.retries.in_line();
        let next = line.find(|key| slice_for(&self.keys[*key], now).is_some());
        next.cloned()
    }

    fn wait_on(&mut self, session: SessionId, key: &PhysicalKey, now: Instant) {
        let queue = self.keys.get_mut(key).expect("BUG: somebody waits");
        let Some(mode) = queue.wanted() else {
            queue.ask = None;
            return self.settle(key, now);
        };
        let request = Request {
            key: key.clone(),
            mode,
        };
        queue.ask = Some(Ask::Wait(session));
        let session = self.sessions.get_mut(&session).expect("BUG: it is free");
        let until = None;
        session.wait = Some(WaitOrder { request, until });
        session.inbox.notify_one();
    }

    /// Any proof of life.
    pub(crate) fn replied(&mut self, id: SessionId, now: Instant) -> Option<&mut SessionEntry> {
        let session = self.sessions.get_mut(&id)?;
        self.stillborn = 0;
        session.has_answered = true;
        session.last_reply = now;
        Some(session)
    }

    pub(crate) fn pinged(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.replied(id, now) else {
            return;
        };
        session.last_ping = now;
        self.answer_probes(id, now);
        // It may have become free to wait.
        self.put_to_wait(now);
    }

    /// Any reply proves that the session lives.
    fn answer_probes(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        for key in std::mem::take(&mut session.probes) {
            let queue = self.keys.get_mut(&key).expect("BUG: it was asked for");
            queue.ask = None;
            self.settle(&key, now);
        }
    }

    /// The server answered a batch. An error means that the session cannot be trusted any more.
    pub(crate) fn exchanged(
        &mut self,
        id: SessionId,
        answers: Answers,
        now: Instant,
    ) -> Result<(), SessionError> {
        let Some(session) = self.replied(id, now) else {
            return Ok(());
        };
        session.idle_since = now;
        let Some(mut in_flight) = session.in_flight.take() else {
            return Ok(());
        };
        let Batch { releases, tries } = &*in_flight.batch;
        let confirms = in_flight.confirms.drain(..);
        let mut doubt = None;
        for ((request, confirm), answer) in releases.iter().zip(confirms).zip(answers.releases) {
            let kept = matches!(answer, Answer::Yes);
            if !kept {
                doubt = Some(match answer {
                    Answer::Failed(error) => error,
                    _ => DbErr::Custom(format!(
                        "lock {} was not held where it was released",
                        request.key
                    )),
                });
            }
            confirm.map(|confirm| confirm.send(kept));
            if let Some(queue) = self.keys.get_mut(&request.key) {
                queue.releasing.retain(|session| *session != id);
            }
        }
        for (request, answer) in tries.iter().zip(answers.tries) {
            let queue = self
                .keys
                .get_mut(&request.key)
                .expect("BUG: it was asked for");
            queue.ask = None;
            match answer {
                Answer::Yes => self.granted(id, request, now),
                Answer::No => self.busy(request, in_flight.last_ticket, now),
                Answer::Deadlock => self.refused(&request.key, &Refusal::Deadlock, now),
                Answer::Failed(error) => self.refused(&request.key, &failed(error), now),
            }
        }
        for request in releases {
            self.settle(&request.key, now);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.spare = Some(in_flight.emptied());
        }
        self.answer_probes(id, now);
        // Not before every answer has been heard: what is granted here makes this session one that holds.
        self.put_to_wait(now);
        self.open_for_demand(now);
        doubt.map_or(Ok(()), |error| Err(SessionError::Ended(error)))
    }

    fn granted(&mut self, session: SessionId, request: &Request, now: Instant) {
        let id = self.next_id();
        let entry = self.sessions.get_mut(&session).expect("BUG: it answered");
        entry.held.insert(request.key.clone());
        let queue = self
            .keys
            .get_mut(&request.key)
            .expect("BUG: it was asked for");
        let turn = queue.turn(now);
        queue.calm();
        queue.holds.push(Hold {
            id,
            session,
            mode: request.mode,
            // Ours until it is served: nobody may have wanted it any more.
            guards: 0,
            granted_at: now,
            guarded_since: now,
            handoffs: 0,
            turn,
            upgrade_to: None,
        });
        let index = queue.holds.len() - 1;
        let served = queue.serve_front(index, &entry.link, now);
        self.counters.acquired += served;
        if served == 0 {
            queue.holds[index].guards = 1;
            self.release(&request.key, id, || None, now);
            return;
        }
        self.settle(&request.key, now);
    }

    /// Somebody else has it: those who take no for an answer get it, the others wait for a session that can wait on the server, or for the next try.
    fn busy(&mut self, request: &Request, last_ticket: TicketId, now: Instant) {
        self.counters.contended += 1;
        let key = &request.key;
        let queue = self.keys.get_mut(key).expect("BUG: it was asked for");
        queue.refuse_answered(request.mode, last_ticket);
        let front = queue.waiters.front();
        let waits = front.is_some_and(|front| !front.wait.one_try && front.mode == request.mode);
        if !waits {
            return self.settle(key, now);
        }
        queue.refuse_one_tries(0..usize::MAX);
        let until = now + Self::backoff(queue.attempt);
        queue.contend(now);
        self.put_off(key.clone(), until);
    }

    /// Nothing is asked about this key until then, or until a session can wait for it.
    pub(crate) fn put_off(&mut self, key: PhysicalKey, until: Instant) {
        let next = self.next_id();
        let queue = self.keys.get_mut(&key).expect("BUG: somebody waits");
        queue.ask = Some(Ask::Backoff(until));
        let turn = *queue.turn.get_or_insert(next);
        self.wake_keeper |= self.retries.next().is_none_or(|first| until < first);
        self.retries.insert(until, turn, key);
    }

    /// It is tried for, or waited for, or nobody wants it any more.
    pub(crate) fn end_back_off(&mut self, key: &PhysicalKey) {
        if let Some(queue) = self.keys.get_mut(key)
            && let Some(Ask::Backoff(until)) = queue.ask
            && let Some(turn) = queue.turn
        {
            self.retries.remove(until, turn, key);
            queue.ask = None;
        }
    }

    /// The server refused this key: those whom the answer was for hear why.
    fn refused(&mut self, key: &PhysicalKey, refusal: &Refusal, now: Instant) {
        let queue = self.keys.get_mut(key).expect("BUG: it was asked for");
        for _ in 0..queue.served_by_next_grant() {
            if let Some(waiter) = queue.pop_front() {
                drop(waiter.reply.send(Err(refusal.clone())));
            }
        }
        self.settle(key, now);
    }

    /// A slice of a wait has ended, or `None`: something has come in meanwhile.
    pub(crate) fn waited(&mut self, id: SessionId, answer: Option<Answer>, now: Instant) {
        let Some(session) = self.replied(id, now) else {
            return;
        };
        session.idle_since = now;
        let Some(WaitOrder { request, until }) = session.wait.take() else {
            return;
        };
        let is_over = until.is_some_and(|until| until <= now);
        let answer = answer.or_else(|| is_over.then_some(Answer::No));
        let queue = self
            .keys
            .get_mut(&request.key)
            .expect("BUG: it was waited for");
        if let Some(Answer::No) = answer {
            // Of another mode, a try may succeed.
            queue.refuse_answered(request.mode, TicketId::MAX);
        }
        let still_wanted = queue.wanted() == Some(request.mode);
        if still_wanted && matches!(answer, Some(Answer::No) | None) {
            // The key goes on being waited for. Tries that came after the end of the slice are left.
            queue.refuse_one_tries(0..usize::MAX);
        }
        // Others need the session.
        let is_in_demand = !self.retries.is_empty() || !self.unassigned.is_empty();
        let until = match &answer {
            // For what is left of the slice.
            None => Some(until),
            Some(Answer::No) => {
                queue.slices = queue.slices.saturating_add(1);
                // To the end of the line.
                queue.turn = None;
                (!is_in_demand).then_some(None)
            }
            Some(_) => None,
        };
        let is_to_look = still_wanted && queue.is_to_look_for_blocker(now);
        let session = self.sessions.get_mut(&id).expect("BUG: it answered");
        if is_to_look && session.tells_holders && matches!(answer, Some(Answer::No)) {
            let look = Inspect::Blocker(request.key.clone());
            session.inspections.push(look);
        }
        if let Some(until) = until.filter(|_| still_wanted) {
            session.wait = Some(WaitOrder { request, until });
            return;
        }
        queue.ask = None;
        match answer {
            Some(Answer::Yes) => self.granted(id, &request, now),
            Some(Answer::No) if still_wanted => {
                let until = now + Self::backoff(queue.attempt);
                self.put_off(request.key, until);
            }
            Some(Answer::No) | None => self.settle(&request.key, now),
            Some(Answer::Deadlock) => self.refused(&request.key, &Refusal::Deadlock, now),
            Some(Answer::Failed(error)) => self.refused(&request.key, &failed(error), now),
        }
        self.assign(now);
        self.put_to_wait(now);
    }

    /// The server has said who holds a key that is waited for.
    pub(crate) fn blocker_found(
        &mut self,
        key: &PhysicalKey,
        holder: Option<Holder>,
        now: Instant,
    ) {
        if let Some(queue) = self.keys.get_mut(key) {
            queue.set_blocker(holder, now);
        }
    }

    /// Tries again what was put off until now.
    pub(crate) fn retry(&mut self, now: Instant) {
        while let Some(key) = self.retries.due(now).cloned() {
            self.end_back_off(&key);
            self.settle(&key, now);
        }
        self.refused_until.take_if(|until| *until <= now);
        self.assign(now);
        self.open_for_demand(now);
    }
}

/// A request that the server refused.
fn failed(error: DbErr) -> Refusal {
    Refusal::Failed(Phase::Acquire.failed(error))
}
