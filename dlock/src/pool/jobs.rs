//! What a session does next, and with how much of what waits for it. See `state`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::queue::{KeyQueue, Loss, SessionId};
use super::sessions::{InFlight, Inspect, SessionEntry, WaitOrder};
use super::state::State;
use crate::backend::MAX_BATCH;
use crate::backend::{Answer, Batch, InlineSession, LONGEST_SLICE, Request};
use crate::key::{Key, PhysicalKey};

/// A change of the state carries out this many tries at most where no server is in between, so that it lasts for a few milliseconds at worst.
const MAX_LOCAL_TRIES: usize = 32;

/// This much before the last deadline the server stops waiting, so that it gives the lock to nobody who has left.
pub(super) const LAST_PART: Duration = Duration::from_millis(10);

/// The first slice of a wait; each next is twice as long, up to the longest.
const FIRST_SLICE: Duration = Duration::from_millis(500);

/// What a session does next.
#[derive(Debug)]
pub(crate) enum Job {
    Exchange(Arc<Batch>),
    Wait(Request, Duration),
    /// What it holds is to become this; the server may wait for so long.
    Upgrade(Request, Duration),
    Ping,
    /// Together with the keys that are known here, where they are asked for.
    Inspect(Vec<Inspect>, Vec<PhysicalKey>),
    /// Let others run: this change of the state has done a part of what there is to do.
    Yield,
    /// Look at the socket until something comes in, at most until then.
    Idle(Instant),
    /// End the session, once the guards that were told of their loss are gone.
    Close(Option<watch::Sender<Loss>>),
}

impl State {
    /// What this session does next.
    pub(crate) fn next_job(&mut self, id: SessionId, now: Instant) -> Job {
        if let Some(session) = self.sessions.get_mut(&id)
            && std::mem::take(&mut session.must_prove)
        {
            return Job::Ping;
        }
        let session = self.sessions.get(&id);
        if session.is_some_and(|session| session.local.is_some() && !session.tries.is_empty()) {
            return Job::Yield;
        }
        let heartbeat = session.and_then(SessionEntry::next_heartbeat);
        if heartbeat.is_some_and(|due| due <= now) {
            return Job::Ping;
        }
        // Before what comes in without end: after a no it is not due for a while.
        if let Some((request, slice)) = self.due_upgrade(id, now) {
            return Job::Upgrade(request, slice);
        }
        // In turn with batches: under load there is always one of either.
        if let Some(session) = self.sessions.get_mut(&id)
            && !std::mem::take(&mut session.has_inspected)
            && let Some(inspect) = self.inspect_next(id)
        {
            return inspect;
        }
        if let Some(batch) = self.take_batch(id, MAX_BATCH, now) {
            return Job::Exchange(batch);
        }
        if let Some(inspect) = self.inspect_next(id) {
            return inspect;
        }
        let has_pinned_held = self.has_pinned_held();
        let Some(session) = self.sessions.get_mut(&id) else {
            return Job::Close(self.abandoned.remove(&id));
        };
        // Before a wait or its end: readers wait for the answer.
        if !session.probes.is_empty() {
            return Job::Ping;
        }
        if let Some(WaitOrder { request, until }) = session.wait.take() {
            let queue = self.keys.get_mut(&request.key);
            let queue = queue.expect("BUG: it is waited for");
            if let Some(slice) = slice_for(queue, now) {
                let until = until.unwrap_or(now + slice);
                let slice = slice.min(until.saturating_duration_since(now));
                let job = Job::Wait(request.clone(), slice);
                let until = Some(until);
                session.wait = Some(WaitOrder { request, until });
                return job;
            }
            match queue.waiters.is_empty() {
                true => {
                    queue.ask = None;
                    self.forget(&request.key);
                }
                false => self.put_off(request.key, now + 2 * LAST_PART),
            }
            self.assign(now);
            self.put_to_wait(now);
            return self.next_job(id, now);
        }
        let closes = self.closing && !has_pinned_held;
        let idle_until = after(session.idle_since, self.config.idle_timeout);
        let silent_until = after(session.last_proof(), self.config.reply_timeout());
        let ping_at = heartbeat.map_or(silent_until, |due| due.min(silent_until));
        let upgrade_at = session.next_upgrade();
        if session.held.is_empty() && (closes || idle_until <= now) {
            self.counters.sessions_closed += 1;
            self.sessions.remove(&id);
            return Job::Close(None);
        }
        if ping_at <= now {
            return Job::Ping;
        }
        match session.held.is_empty() {
            true => Job::Idle(ping_at.min(idle_until)),
            false => Job::Idle(upgrade_at.map_or(ping_at, |due| due.min(ping_at))),
        }
    }

    fn inspect_next(&mut self, id: SessionId) -> Option<Job> {
        let session = self.sessions.get_mut(&id)?;
        if session.inspections.is_empty() {
            return None;
        }
        session.has_inspected = true;
        let inspections = std::mem::take(&mut session.inspections);
        let wants_keys = |inspect: &Inspect| matches!(inspect, Inspect::Locks(_));
        let known = match inspections.iter().any(wants_keys) {
            true => self.known(),
            false => Vec::new(),
        };
        Some(Job::Inspect(inspections, known))
    }

    /// How many requests wait for this session.
    pub(crate) fn pending(&self, id: SessionId) -> usize {
        let session = self.sessions.get(&id);
        session.map_or(0, |session| session.releases.len() + session.tries.len())
    }

    /// What is asked of sessions that answer at once. In every change of the state, after all else: all releases, and tries as far as they take no time. Returns the
    /// names of the locks that were not there any more when they were released.
    pub(crate) fn exchange_locally(&mut self, now: Instant) -> Vec<Key> {
        let mut lost = Vec::new();
        if !self.is_local {
            return lost;
        }
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
            drop(batch);
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
    fn local_work(&self, tries: bool) -> Option<(SessionId, Arc<dyn InlineSession>)> {
        let sessions = || {
            let sessions = self.sessions.iter();
            sessions.filter_map(|(id, session)| Some((id, session, session.local.as_ref()?)))
        };
        let releases = sessions().find(|(_, session, _)| !session.releases.is_empty());
        let tries = || sessions().find(|(_, session, _)| tries && !session.tries.is_empty());
        let (id, _, local) = releases.or_else(tries)?;
        Some((*id, Arc::clone(local)))
    }

    /// What is waiting to be sent on this session, as far as it is still wanted.
    fn take_batch(&mut self, id: SessionId, tries: usize, now: Instant) -> Option<Arc<Batch>> {
        let session = self.sessions.get_mut(&id)?;
        if session.releases.is_empty() && session.tries.is_empty() {
            return None;
        }
        let mut in_flight = session.spare.take().unwrap_or_default();
        in_flight.last_ticket = self.last_id;
        let InFlight {
            batch, confirms, ..
        } = &mut in_flight;
        let batch = Arc::get_mut(batch).expect("BUG: it was emptied");
        let releases = session.releases.len().min(MAX_BATCH);
        for (request, confirm) in session.releases.drain(..releases) {
            batch.releases.push(request);
            confirms.push(confirm);
        }
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
        let batch = match batch.is_empty() {
            true => {
                session.spare = Some(in_flight);
                None
            }
            false => Some(Arc::clone(&session.in_flight.insert(in_flight).batch)),
        };
        for key in unwanted {
            self.settle(&key, now);
        }
        batch
    }
}

/// How long the server is to wait for this key; not at all when nobody does, or in the last part of the time that is left.
pub(super) fn slice_for(queue: &KeyQueue, now: Instant) -> Option<Duration> {
    let _somebody = queue.waiters.front()?;
    let deadline = queue.last_deadline();
    let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
    next_slice(queue.slices, left)
}

/// How long the server is to wait now, after so many slices, with so much time left; not at all in the last part of it.
pub(crate) fn next_slice(slices: u32, left: Option<Duration>) -> Option<Duration> {
    let slice = LONGEST_SLICE.min(FIRST_SLICE * 2_u32.pow(slices.min(8)));
    let left = left.map(|left| left.saturating_sub(LAST_PART));
    (left != Some(Duration::ZERO)).then(|| slice.min(left.unwrap_or(slice)))
}

/// A clock cannot hold every duration that a setting can.
pub(super) fn after(instant: Instant, duration: Duration) -> Instant {
    const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    instant + duration.min(A_YEAR)
}
