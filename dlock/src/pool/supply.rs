//! What sessions do to the pool's state: come up, take work, answer, end. See `state`.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;
use tokio::sync::watch;
use tokio::time::Instant;

use super::queue::{Ask, Hold, Refusal, SessionId};
use super::sessions::{Inspect, SessionEntry, WaitOrder};
use super::state::State;
use crate::dialect::MAX_BATCH;
use crate::error::{Error, Phase};
use crate::key::{Key, PhysicalKey};
use crate::session::{Answer, Answers, Batch, LONGEST_SLICE, Local, Request, Session};

/// A change of the state carries out this many tries at most where no server is in between, so that it lasts for a few milliseconds at worst.
const MAX_LOCAL_TRIES: usize = 32;

/// This much before the last deadline the server stops waiting, so that it gives the lock to nobody who has left.
const LAST_PART: Duration = Duration::from_millis(10);

/// The first slice of a wait; each next is twice as long, up to the longest.
const FIRST_SLICE: Duration = Duration::from_millis(500);

/// What a session does next.
#[derive(Debug)]
pub(crate) enum Job {
    Exchange(Arc<Batch>),
    Wait(Request, Duration),
    Ping,
    /// Together with the keys that are known here.
    Inspect(Vec<Inspect>, Vec<PhysicalKey>),
    /// Let others run: this change of the state has done a part of what there is to do.
    Yield,
    /// Look at the socket until something comes in, at most until then.
    Idle(Instant),
    /// End the session, once the guards that were told of their loss are gone.
    Close(Option<watch::Sender<bool>>),
}

impl State {
    pub(crate) fn session_ready(&mut self, id: SessionId, opened: &dyn Session, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.ready = true;
        session.can_wait = opened.can_wait();
        session.heartbeat = opened.heartbeat();
        session.local = opened.local();
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

    /// Lets keys in back-off wait on sessions that have become free.
    fn put_to_wait(&mut self, now: Instant) {
        while let Some(session) = self.session_for_wait() {
            let Some((_, key)) = self.retries.pop_first() else {
                return;
            };
            self.wait_on(session, &key, now);
        }
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
        session.wait = Some(WaitOrder { request, slices: 0 });
        session.inbox.notify_one();
    }

    /// What this session does next.
    pub(crate) fn next_job(&mut self, id: SessionId, now: Instant) -> Job {
        let session = self.sessions.get(&id);
        if session.is_some_and(|session| session.local.is_some() && !session.tries.is_empty()) {
            return Job::Yield;
        }
        let heartbeat = session.and_then(SessionEntry::next_heartbeat);
        if heartbeat.is_some_and(|due| due <= now) {
            return Job::Ping;
        }
        if let Some(batch) = self.take_batch(id, MAX_BATCH, now) {
            return Job::Exchange(batch);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return Job::Close(self.abandoned.remove(&id));
        };
        if !session.inspections.is_empty() {
            let inspections = std::mem::take(&mut session.inspections);
            return Job::Inspect(inspections, self.keys.keys().cloned().collect());
        }
        if let Some(order) = session.wait.take() {
            let key = &order.request.key;
            let queue = self.keys.get_mut(key).expect("BUG: it is waited for");
            if queue.waiters.is_empty() {
                queue.ask = None;
                self.forget(key);
                return self.next_job(id, now);
            }
            let slice = LONGEST_SLICE.min(FIRST_SLICE * 2_u32.pow(order.slices.min(8)));
            let deadline = queue.last_deadline();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            let left = left.map(|left| left.saturating_sub(LAST_PART));
            if left == Some(Duration::ZERO) {
                self.put_off(order.request.key, now + 2 * LAST_PART);
                return self.next_job(id, now);
            }
            let slice = slice.min(left.unwrap_or(slice));
            let job = Job::Wait(order.request.clone(), slice);
            session.wait = Some(order);
            return job;
        }
        let idle_until = after(session.idle_since, self.config.idle_timeout);
        let silent_until = after(session.last_proof(), self.config.reply_timeout());
        let ping_at = heartbeat.map_or(silent_until, |due| due.min(silent_until));
        if session.held.is_empty() && (self.closing || idle_until <= now) {
            self.counters.sessions_closed += 1;
            self.sessions.remove(&id);
            return Job::Close(None);
        }
        if !session.probes.is_empty() || ping_at <= now {
            return Job::Ping;
        }
        match session.held.is_empty() {
            true => Job::Idle(ping_at.min(idle_until)),
            false => Job::Idle(ping_at),
        }
    }

    /// What is asked of sessions that answer at once. In every change of the state, after all else: all releases, and tries as far as they take no time. Returns the
    /// names of the locks that were not there any more when they were released.
    pub(crate) fn exchange_locally(&mut self, now: Instant) -> Vec<Key> {
        let mut lost = Vec::new();
        let mut tries = MAX_LOCAL_TRIES;
        while let Some((id, local)) = self.local_work(tries > 0) {
            let Some(batch) = self.take_batch(id, tries, now) else {
                continue;
            };
            tries = tries.saturating_sub(batch.tries.len());
            let answers = local.exchange(&batch);
            let released = batch.releases.iter().zip(&answers.releases);
            let gone = released.filter(|(_, answer)| !matches!(answer, Answer::Yes));
            lost.extend(gone.filter_map(|(request, _)| self.keys.get(&request.key)?.name.clone()));
            // What else the session holds is none the worse.
            drop(self.exchanged(id, answers, now));
        }
        self.counters.lost += lost.len() as u64;
        if let Some((id, _)) = self.local_work(true) {
            self.sessions[&id].inbox.notify_one();
        }
        lost
    }

    /// A session that answers at once and has something to do; first those that give back.
    fn local_work(&self, tries: bool) -> Option<(SessionId, Arc<dyn Local>)> {
        let sessions = || {
            let sessions = self.sessions.iter();
            sessions.filter_map(|(id, session)| Some((id, session, session.local.as_ref()?)))
        };
        let releases = sessions().find(|(_, session, _)| !session.releases.is_empty());
        let tries = || sessions().find(|(_, session, _)| tries && !session.tries.is_empty());
        let (id, _, local) = releases.or_else(tries)?;
        Some((*id, Arc::clone(local)))
    }

    /// Any proof of life.
    fn replied(&mut self, id: SessionId, now: Instant) -> Option<&mut SessionEntry> {
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
    ) -> Result<(), DbErr> {
        let Some(session) = self.replied(id, now) else {
            return Ok(());
        };
        session.idle_since = now;
        let batch = std::mem::take(&mut session.in_flight);
        let confirms = std::mem::take(&mut session.confirms);
        let Batch { releases, tries } = &*batch;
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
                Answer::No => self.busy(request, now),
                Answer::Failed(error) => {
                    self.failed(&request.key, &Phase::Acquire.failed(error), now)
                }
            }
        }
        for request in releases {
            self.settle(&request.key, now);
        }
        // Not before every answer has been heard: what is granted here makes this session one that holds.
        self.put_to_wait(now);
        self.open_for_demand(now);
        doubt.map_or(Ok(()), Err)
    }

    fn granted(&mut self, session: SessionId, request: &Request, now: Instant) {
        let id = self.next_id();
        let entry = self.sessions.get_mut(&session).expect("BUG: it answered");
        entry.held.insert(request.key.clone());
        let queue = self
            .keys
            .get_mut(&request.key)
            .expect("BUG: it was asked for");
        queue.attempt = 0;
        queue.holds.push(Hold {
            id,
            session,
            mode: request.mode,
            // Ours until it is served: nobody may have wanted it any more.
            guards: 0,
            granted_at: now,
            handoffs: 0,
        });
        let index = queue.holds.len() - 1;
        if self.serve_front(&request.key, index) == 0 {
            let queue = self.keys.get_mut(&request.key).expect("BUG: it is held");
            queue.holds[index].guards = 1;
            return self.release(&request.key, id, None, now);
        }
        self.settle(&request.key, now);
    }

    /// Somebody else has it: those who take no for an answer get it, the others wait for a session that can wait on the server, or for the next try.
    fn busy(&mut self, request: &Request, now: Instant) {
        self.counters.contended += 1;
        let key = &request.key;
        let queue = self.keys.get_mut(key).expect("BUG: it was asked for");
        let front = queue.waiters.front().map(|waiter| waiter.mode);
        if front == Some(request.mode) {
            queue.refuse_one_tries(0..queue.served_by_next_grant());
        }
        let front = queue.waiters.front();
        let waits = front.is_some_and(|front| !front.wait.one_try && front.mode == request.mode);
        if !waits {
            return self.settle(key, now);
        }
        queue.refuse_one_tries(0..usize::MAX);
        let until = now + Self::backoff(queue.attempt);
        queue.attempt += 1;
        self.put_off(key.clone(), until);
    }

    /// Nothing is asked about this key until then, or until a session can wait for it.
    fn put_off(&mut self, key: PhysicalKey, until: Instant) {
        let queue = self.keys.get_mut(&key).expect("BUG: somebody waits");
        queue.ask = Some(Ask::Backoff(until));
        self.wake_keeper |= self.retries.first().is_none_or(|(first, _)| until < *first);
        self.retries.insert((until, key));
    }

    /// The server refused this key: those whom the answer was for hear why.
    fn failed(&mut self, key: &PhysicalKey, error: &Error, now: Instant) {
        let queue = self.keys.get_mut(key).expect("BUG: it was asked for");
        for _ in 0..queue.served_by_next_grant() {
            if let Some(waiter) = queue.pop_front() {
                drop(waiter.reply.send(Err(Refusal::Failed(error.clone()))));
            }
        }
        self.settle(key, now);
    }

    /// A slice of a wait has ended.
    pub(crate) fn waited(&mut self, id: SessionId, answer: Answer, now: Instant) {
        let Some(session) = self.replied(id, now) else {
            return;
        };
        session.idle_since = now;
        let Some(WaitOrder { request, slices }) = session.wait.take() else {
            return;
        };
        let queue = self
            .keys
            .get_mut(&request.key)
            .expect("BUG: it was waited for");
        let still_wanted = queue.wanted() == Some(request.mode);
        if still_wanted && matches!(answer, Answer::No) {
            let session = self.sessions.get_mut(&id).expect("BUG: it answered");
            session.wait = Some(WaitOrder {
                request,
                slices: slices + 1,
            });
            return;
        }
        queue.ask = None;
        match answer {
            Answer::Yes => self.granted(id, &request, now),
            Answer::No => self.settle(&request.key, now),
            Answer::Failed(error) => self.failed(&request.key, &Phase::Acquire.failed(error), now),
        }
        self.assign(now);
        self.put_to_wait(now);
    }

    /// Tries again what was put off until now.
    pub(crate) fn retry(&mut self, now: Instant) {
        while let Some((until, _)) = self.retries.first()
            && *until <= now
        {
            let (_, key) = self.retries.pop_first().expect("BUG: there is a first");
            let queue = self.keys.get_mut(&key).expect("BUG: somebody waits");
            queue.ask = None;
            self.settle(&key, now);
        }
        self.refused_until.take_if(|until| *until <= now);
        self.assign(now);
        self.open_for_demand(now);
    }

    /// What is waiting to be sent on this session, as far as it is still wanted.
    fn take_batch(&mut self, id: SessionId, tries: usize, now: Instant) -> Option<Arc<Batch>> {
        let session = self.sessions.get_mut(&id)?;
        let mut batch = Batch::default();
        let releases = session.releases.len().min(MAX_BATCH);
        (batch.releases, session.confirms) = session.releases.drain(..releases).unzip();
        let mut unwanted = Vec::new();
        // A try may rely on a release of the same batch, never on one of the next.
        while session.releases.is_empty()
            && batch.tries.len() < tries
            && let Some(Request { key, .. }) = session.tries.pop_front()
        {
            let queue = self.keys.get_mut(&key).expect("BUG: it was asked for");
            match queue.wanted() {
                Some(mode) => batch.tries.push(Request { key, mode }),
                None => {
                    queue.ask = None;
                    unwanted.push(key);
                }
            }
        }
        let batch = Arc::new(batch);
        session.in_flight = Arc::clone(&batch);
        for key in unwanted {
            self.settle(&key, now);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// A clock cannot hold every duration that a setting can.
fn after(instant: Instant, duration: Duration) -> Instant {
    const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    instant + duration.min(A_YEAR)
}
