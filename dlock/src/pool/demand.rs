//! What callers do to the pool's state: ask for a lock, give up, give it back. See `state`.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::next_warning;
use super::queue::{
    Ask, Granted, Hold, HoldId, Refusal, SessionId, TENURE, TURN, TicketId, Waiter,
};
use super::sessions::{Confirm, Inspect, Meet, SessionEntry};
use super::state::State;
use crate::backend::MAX_BATCH;
use crate::backend::Request;
use crate::error::{Error, Phase};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// As many as one statement asks for.
const MAX_SPARE_QUEUES: usize = MAX_BATCH;

/// What a caller holds while it waits.
pub(crate) type Reply = oneshot::Receiver<Result<Granted, Refusal>>;

impl State {
    /// Puts a caller at the end of the key's queue.
    pub(crate) fn enqueue(
        &mut self,
        name: &Key,
        key: &PhysicalKey,
        mode: Mode,
        wait: Wait,
        now: Instant,
    ) -> Result<(TicketId, Reply), Error> {
        self.admit(now)?;
        let id = self.next_id();
        let (reply, receiver) = oneshot::channel();
        let spare = &mut self.spare_queues;
        let queue = self.keys.entry(key.clone());
        let queue = queue.or_insert_with(|| spare.pop().unwrap_or_default());
        let awaited = match queue.ask {
            Some(Ask::Wait(session)) => !is_overdue(&self.sessions, session, now),
            Some(Ask::Backoff(_)) => true,
            Some(Ask::Try(_) | Ask::Probe(_)) | None => false,
        };
        if wait.one_try && (awaited || queue.is_held_against(mode)) {
            // The receiver is ours.
            drop(reply.send(Err(Refusal::Busy)));
            return Ok((id, receiver));
        }
        queue.name.get_or_insert_with(|| name.clone());
        queue.one_tries += usize::from(wait.one_try);
        if queue.waiters.capacity() == 0 {
            // Most queues are short, and many.
            queue.waiters.reserve_exact(1);
        }
        queue.waiters.push_back(Waiter {
            id,
            mode,
            wait,
            next_warning: (!wait.quiet).then(|| next_warning(wait.since, now)),
            reply,
        });
        self.settle(key, now);
        Ok((id, receiver))
    }

    /// A caller stopped waiting.
    pub(crate) fn cancel(&mut self, key: &PhysicalKey, id: TicketId, now: Instant) {
        if let Some(queue) = self.keys.get_mut(key) {
            queue.remove(id);
            self.settle(key, now);
        }
    }

    /// A guard is done. Whether the lock was still there, if that is known at once; else `confirm` will hear it.
    pub(crate) fn release(
        &mut self,
        key: &PhysicalKey,
        hold: HoldId,
        confirm: impl FnOnce() -> Option<Confirm>,
        now: Instant,
    ) -> Option<bool> {
        let Some(queue) = self.keys.get_mut(key) else {
            return Some(false);
        };
        let Some(index) = queue.holds.iter().position(|held| held.id == hold) else {
            return Some(false);
        };
        let held = &mut queue.holds[index];
        held.guards -= 1;
        if held.guards > 0 {
            return Some(true);
        }
        let session = self
            .sessions
            .get_mut(&held.session)
            .expect("BUG: a hold outlived its session");
        // A turn is shorter than an answer of a server proves that its session lives. Where there is no server, somebody has to look.
        const { assert!(TURN.as_nanos() <= TENURE.as_nanos()) };
        if queue.is_in_turn(index, self.config.max_local_handoffs, now)
            && (session.local.is_none() || session.proves(key, now))
        {
            queue.holds[index].handoffs += 1;
            let served = queue.serve_front(index, &session.link, now);
            if served > 0 {
                self.counters.acquired += served;
                self.counters.handoffs += 1;
                return Some(true);
            }
        }
        let hold = queue.holds.swap_remove(index);
        queue.releasing.push(hold.session);
        let is_put_off = matches!(queue.ask, Some(Ask::Backoff(_)));
        let request = Request {
            key: key.clone(),
            mode: hold.mode,
        };
        session.held.remove(key);
        // Of a guard that is gone nobody wants more, even if its future was forgotten.
        session.upgrades.retain(|upgrade| !upgrade.is_of(key));
        session.releases.push((request, confirm()));
        session.wake_for_work(self.closing);
        self.asked += 1;
        if is_put_off {
            // It may have been this hold that was in the way.
            self.end_back_off(key);
        }
        self.settle(key, now);
        None
    }

    /// Brings a key to rest after anything happened to it: serves who can be served locally, asks the server for the next, forgets what nobody wants.
    pub(crate) fn settle(&mut self, key: &PhysicalKey, now: Instant) {
        let Some(queue) = self.keys.get_mut(key) else {
            return;
        };
        let Some(mode) = queue.front_mode() else {
            return self.forget(key);
        };
        if queue.is_held_against(mode) {
            let is_try = queue
                .waiters
                .front()
                .is_some_and(|front| front.wait.one_try);
            queue.refuse_one_tries(0..usize::MAX);
            // The next in line may coexist with the holder.
            return if is_try {
                self.settle(key, now)
            };
        }
        if mode.is_shareable() && self.join_readers(key, now) {
            return self.settle(key, now);
        }
        let queue = self.keys.get_mut(key).expect("BUG: somebody waits");
        match queue.ask {
            None => self.ask_server(key, mode, now),
            Some(Ask::Try(_) | Ask::Probe(_)) => {
                let served = queue.served_by_next_tries();
                queue.refuse_one_tries(served..usize::MAX);
            }
            // Its answer is the one to a try, too.
            Some(Ask::Wait(session)) if is_overdue(&self.sessions, session, now) => {}
            Some(Ask::Wait(_) | Ask::Backoff(_)) => queue.refuse_one_tries(0..usize::MAX),
        }
    }

    /// Readers, or others who can share a lock, join a hold of their mode while it is young and its session known to live. Later the server is asked on another session,
    /// where a writer of another process that waits already goes first.
    fn join_readers(&mut self, key: &PhysicalKey, now: Instant) -> bool {
        let can_ask_elsewhere = self.can_ask_elsewhere(key, now);
        let queue = self.keys.get_mut(key).expect("BUG: somebody waits");
        let mode = queue.front_mode();
        let joinable = |hold: &Hold| {
            Some(hold.mode) == mode
                && (now.duration_since(hold.granted_at) < TENURE || !can_ask_elsewhere)
                && self.sessions[&hold.session].proves(key, now)
        };
        let Some(index) = queue.holds.iter().position(joinable) else {
            return false;
        };
        let link = &self.sessions[&queue.holds[index].session].link;
        self.counters.acquired += queue.serve_front(index, link, now);
        true
    }

    /// Whether a session that does not hold this key can be had.
    fn can_ask_elsewhere(&self, key: &PhysicalKey, now: Instant) -> bool {
        self.more_may_come(now)
            || self
                .session_for_try(|id| self.sessions[&id].held.contains(key), now)
                .is_some()
    }

    /// Asks for the lock by a try.
    pub(crate) fn ask_server(&mut self, key: &PhysicalKey, mode: Mode, now: Instant) {
        let queue = &self.keys[key];
        let served = queue.served_by_next_tries();
        // What is being given back on a session can be taken again there, in the same round trip. On several, it has to arrive first.
        let session = match queue.releasing.as_slice() {
            [] => self.session_for_try(|id| self.sessions[&id].held.contains(key), now),
            [session] if self.sessions[session].can_try() => Some(*session),
            _ => return,
        };
        if session.is_none() && !queue.holds.is_empty() && !self.can_ask_elsewhere(key, now) {
            let mut holds = queue.holds.iter();
            let joinable = holds.find(|hold| hold.mode == mode && mode.is_shareable());
            return match joinable.map(|hold| hold.session) {
                Some(holder) => self.probe(key, holder),
                // It would be granted beside our own hold, but a session has a lock once only.
                None => self.wait_for_another_session(key, now),
            };
        }
        let request = Request {
            key: key.clone(),
            mode,
        };
        let queue = self.keys.get_mut(key).expect("BUG: somebody waits");
        queue.refuse_one_tries(served..usize::MAX);
        queue.ask = Some(Ask::Try(session));
        self.asked += 1;
        match session.and_then(|id| self.sessions.get_mut(&id)) {
            Some(session) => {
                session.tries.push_back(request);
                session.wake_for_work(self.closing);
            }
            None => {
                self.unassigned.push_back(request);
                self.open_for_demand(now);
            }
        }
    }

    fn wait_for_another_session(&mut self, key: &PhysicalKey, now: Instant) {
        let queue = self.keys.get_mut(key).expect("BUG: somebody waits");
        queue.refuse_one_tries(0..usize::MAX);
        if queue.waiters.is_empty() {
            return self.forget(key);
        }
        let until = now + Self::backoff(queue.attempt);
        queue.attempt += 1;
        self.put_off(key.clone(), until);
    }

    /// Before a reader may join, the only session must show that it lives.
    fn probe(&mut self, key: &PhysicalKey, session: u64) {
        let queue = self.keys.get_mut(key).expect("BUG: somebody waits");
        queue.ask = Some(Ask::Probe(session));
        let session = self
            .sessions
            .get_mut(&session)
            .expect("BUG: it holds the key");
        session.probes.push(key.clone());
        session.inbox.notify_one();
    }

    /// Nobody waits for this key: it is dropped, unless something of it is left. A try that has not been sent is skipped when it is its turn.
    pub(crate) fn forget(&mut self, key: &PhysicalKey) {
        self.end_back_off(key);
        let Some(queue) = self.keys.get_mut(key) else {
            return;
        };
        if queue.ask.is_none() {
            queue.calm();
        }
        if let Some(Ask::Wait(session)) = queue.ask
            && let Some(session) = self.sessions.get(&session)
            && let Some(local) = &session.local
        {
            local.leave();
            session.inbox.notify_one();
        }
        if queue.is_unused()
            && let Some(mut queue) = self.keys.remove(key)
            && self.spare_queues.len() < MAX_SPARE_QUEUES
        {
            queue.reset();
            self.spare_queues.push(queue);
        }
    }

    /// Answers as soon as there is a session, for which one is opened.
    pub(crate) fn meet_server(&mut self, meet: Meet, now: Instant) {
        if let Err(error) = self.admit(now) {
            return drop(meet.send(Err(error)));
        }
        if self.sessions.values().any(|session| session.ready) {
            return drop(meet.send(Ok(())));
        }
        self.to_meet.push(meet);
        self.open_for_demand(now);
    }

    /// Whether another session can be asked now for what a new one holds.
    pub(crate) fn can_ask_elsewhere_now(&self) -> bool {
        self.sessions.values().any(SessionEntry::can_try)
    }

    /// Hands a question to a session that is ready, however many locks it holds. A new one, which is
    /// not ready, may wait for the answer.
    pub(crate) fn inspect_elsewhere(&mut self, inspect: Inspect) {
        match self.sessions.values_mut().find(|session| session.can_try()) {
            Some(session) => {
                session.inspections.push(inspect);
                session.inbox.notify_one();
            }
            None => inspect.refuse(&Error::PoolClosed.into(), Phase::Inspect),
        }
    }

    /// Hands a question about the server's locks to a session.
    pub(crate) fn inspect(&mut self, inspect: Inspect, now: Instant) {
        match self.admit(now) {
            // Another session may have to be asked about a pinned lock.
            Err(Error::PoolClosed) if self.has_pinned_held() => {}
            Err(error) => return inspect.refuse(&error.into(), Phase::Inspect),
            Ok(()) => {}
        }
        let session = self.session_for_try(|_| false, now);
        match session.and_then(|id| self.sessions.get_mut(&id)) {
            Some(session) => {
                session.inspections.push(inspect);
                session.inbox.notify_one();
            }
            None => {
                self.inspections.push(inspect);
                self.open_for_demand(now);
            }
        }
    }
}

/// Whether the wait of this session should have ended by now, so that its answer is on its way. The
/// server may have granted the lock in the meantime.
fn is_overdue(
    sessions: &BTreeMap<SessionId, SessionEntry>,
    session: SessionId,
    now: Instant,
) -> bool {
    let wait = sessions.get(&session).and_then(|entry| entry.wait.as_ref());
    let until = wait.and_then(|wait| wait.until);
    until.is_some_and(|until| until <= now)
}
