//! Keys that another process holds: when each is tried again, and which session waits for which.

use std::time::Duration;

use super::Machine;
use super::backoff::Turn;
use super::event::{
    Answer, Command, GrantId, Inspection, Job, Lost, Request, SessionId, Step, Ticket, Time,
};
use super::keys::{Ask, Entry};
use super::sessions::WaitOrder;
use crate::backend::LONGEST_SLICE;
use crate::key::PhysicalKey;

/// So long before the last deadline the server stops waiting, so that it grants the lock to no
/// caller that has left.
const LAST_PART: Duration = Duration::from_millis(10);

/// The first slice of a wait; each next is twice as long, up to the longest.
const FIRST_SLICE: Duration = Duration::from_millis(500);

impl Machine {
    /// Nothing is asked about this key for a while, or until a session can wait for it.
    pub(super) fn back_off(&mut self, key: &PhysicalKey, now: Time) {
        let attempt = self.keys.entry(key).contention_mut().next_attempt(now);
        let until = now + self.jitter(attempt);
        self.put_off(key, until);
    }

    pub(super) fn put_off(&mut self, key: &PhysicalKey, until: Time) {
        let next = Turn(self.next_id());
        let entry = self.keys.entry(key);
        let turn = entry.contention_mut().turn_or(|| next);
        entry.set_ask(Ask::BackOff(turn));
        let is_starved = turn.0.is_multiple_of(4) && is_planted!(self, StarveKey);
        let until = if is_starved { Time::MAX } else { until };
        self.backoffs.insert(turn, until, key.clone());
    }

    /// It is tried for, or waited for, or no caller wants it any more.
    pub(super) fn end_back_off(&mut self, key: &PhysicalKey) {
        if !self.backoffs.is_empty()
            && let Some(entry) = self.keys.get_mut(key)
            && let Ask::BackOff(turn) = entry.ask()
        {
            entry.set_ask(Ask::Nothing);
            self.backoffs.remove(turn);
        }
    }

    fn jitter(&mut self, attempt: u32) -> Duration {
        backoff(attempt, self.rng.f64())
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
                step.push(Command::Lose(Lost::unknown(grant, id)));
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
            entry
                .line_mut()
                .refuse_answered(request.mode, Ticket::last(u64::MAX), step);
        }
        let still_wanted = entry.wanted() == Some(request.mode);
        let again = match &answer {
            // For what is left of the slice.
            None => Some(until),
            Some(Answer::No) => {
                entry.contention_mut().end_slice();
                (!is_in_demand).then_some(None)
            }
            Some(_) => None,
        };
        let looks = still_wanted && tells_holders && entry.contention().wants_blocker(step.now);
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
        let attempt = self.keys.entry(key).contention().attempt();
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

    /// The next slice of a wait, unless there is no time left for one.
    pub(super) fn begin_slice(
        &mut self,
        id: SessionId,
        order: WaitOrder,
        step: &mut Step<'_>,
    ) -> Option<Job> {
        let WaitOrder {
            request,
            grant,
            until,
        } = order;
        let entry = self.keys.entry(&request.key);
        if entry.wanted() == Some(request.mode)
            && let Some(slice) = slice_for(entry, step.now)
        {
            let until = until.unwrap_or(step.now + slice);
            let slice = slice.min(until.saturating_sub(step.now));
            let session = self.sessions.get_mut(id)?;
            session.order_wait(WaitOrder {
                request: request.clone(),
                grant,
                until: Some(until),
            });
            return Some(Job::Wait {
                request,
                slice,
                grant,
            });
        }
        entry.set_ask(Ask::Nothing);
        match entry.wanted() == Some(request.mode) {
            // There is no time left to wait.
            true => self.put_off(&request.key, step.now + 2 * LAST_PART),
            false => self.advance(&request.key, step),
        }
        self.assign(step);
        self.put_to_wait(step);
        None
    }
}

/// How long the server is to wait for this key: not at all without a waiter, or in the last part of
/// the time that is left.
fn slice_for(entry: &Entry, now: Time) -> Option<Duration> {
    entry.line().front()?;
    let deadline = entry.line().last_deadline();
    let left = deadline.map(|deadline| deadline.saturating_sub(now));
    next_slice(entry.contention().slices(), left)
}

/// How long the server is to wait after so many slices, with so much time left: not at all in the
/// last part of it.
pub(crate) fn next_slice(slices: u32, left: Option<Duration>) -> Option<Duration> {
    let slice = FIRST_SLICE * 2_u32.pow(slices.min(8));
    longest_slice(left).map(|longest| longest.min(slice))
}

/// [`next_slice`], where no other request needs the session.
pub(crate) fn longest_slice(left: Option<Duration>) -> Option<Duration> {
    let left = left.unwrap_or(Duration::MAX).saturating_sub(LAST_PART);
    (!left.is_zero()).then(|| left.min(LONGEST_SLICE))
}

/// How long a try is put off after so many: 5 ms at first, doubled with each up to a quarter of a
/// second, between half of it (`chance` of 0) and the whole (`chance` of 1).
pub(crate) fn backoff(attempt: u32, chance: f64) -> Duration {
    let ceiling = Duration::from_millis(5 << attempt.min(6)).min(Duration::from_millis(250));
    ceiling.mul_f64(0.5 + 0.5 * chance)
}
