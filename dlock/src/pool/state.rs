//! All that the pool knows, behind one mutex. Every change is a method here, in `demand` (what callers do), in `supply` (what sessions do) or in `jobs` (what they do next):
//! no await, no network, no clock of its own. So nothing can be dropped half-way, and tests can play any order of events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::config::Config;
use super::queue::{Ask, KeyQueue, Loss, SessionId};
use super::retries::Retries;
use super::sessions::{Inspect, Meet, PinnedEntry, SessionEntry};
use super::status::Counters;
use super::{LONG_WAIT, LongWait, next_warning};
use crate::backend::{Request, SessionError};
use crate::error::{Error, HeldBy, LossCause, Phase};
use crate::key::PhysicalKey;
use crate::mode::Mode;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Arc<Config>,
    /// By foldhash, faster than the standard library's; it is seeded by chance, so that nobody can choose names that collide.
    pub(crate) keys: HashMap<PhysicalKey, Box<KeyQueue>>,
    /// Queues that nobody needs at the moment: most of them are short-lived, and the allocator is slower than this.
    #[allow(clippy::vec_box, reason = "they come out of `keys`, and go back there")]
    pub(crate) spare_queues: Vec<Box<KeyQueue>>,
    pub(crate) sessions: BTreeMap<SessionId, SessionEntry>,
    /// Whether sessions answer at once.
    pub(crate) is_local: bool,
    pub(crate) pinned: BTreeMap<SessionId, PinnedEntry>,
    /// Callers that wait for a pinned lock, or for their turn to have a session for it.
    pub(crate) pinned_waiters: usize,
    /// Tries that no session has taken yet.
    pub(crate) unassigned: VecDeque<Request>,
    /// Inspections that no session has taken yet.
    pub(crate) inspections: Vec<Inspect>,
    /// Those who must know the server before they can ask for a lock.
    pub(crate) to_meet: Vec<Meet>,
    /// Keys in back-off.
    pub(crate) retries: Retries,
    /// The server refused a further session: none is asked for before this.
    pub(crate) refused_until: Option<Instant>,
    /// Sessions in a row that died before their first answer.
    pub(crate) stillborn: u32,
    pub(crate) closing: bool,
    /// The pool was refused: until then, new requests get this error.
    pub(crate) quarantine: Option<(Error, Instant)>,
    /// Sessions that were taken away from their guards: they close when the guards are gone.
    pub(crate) abandoned: HashMap<SessionId, watch::Sender<Loss>>,
    /// Tasks that own a session, or are opening one.
    pub(crate) tasks: usize,
    pub(crate) counters: Counters,
    pub(crate) life: Life,
    pub(crate) last_id: u64,
    /// Counts what sessions were asked for.
    pub(crate) asked: u64,
    /// Sessions that `Core` must start as soon as it has left the mutex: a runtime that ends drops their tasks at once, and these lock it again.
    pub(crate) to_open: Vec<SessionId>,
    /// Something is due before the keeper's next look.
    pub(crate) wake_keeper: bool,
    /// Nobody has waited for long before then; `None` while there is nobody who could.
    pub(crate) long_waits_at: Option<Instant>,
}

/// The runtime on which the pool's tasks live.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) runtime: Option<Handle>,
    pub(crate) has_keeper: bool,
    /// Counts the runtimes that the pool has outlived.
    pub(crate) epoch: u64,
}

impl State {
    pub(crate) fn new(config: Arc<Config>, runtime: Option<Handle>) -> Self {
        Self {
            config,
            keys: HashMap::new(),
            spare_queues: Vec::new(),
            sessions: BTreeMap::new(),
            is_local: false,
            pinned: BTreeMap::new(),
            pinned_waiters: 0,
            unassigned: VecDeque::new(),
            inspections: Vec::new(),
            to_meet: Vec::new(),
            retries: Retries::default(),
            refused_until: None,
            stillborn: 0,
            closing: false,
            quarantine: None,
            abandoned: HashMap::new(),
            tasks: 0,
            counters: Counters::default(),
            life: Life {
                runtime,
                ..Life::default()
            },
            last_id: 0,
            asked: 0,
            to_open: Vec::new(),
            wake_keeper: false,
            long_waits_at: None,
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// No session is left and none is coming.
    pub(crate) fn is_drained(&self) -> bool {
        self.closing && self.tasks == 0
    }

    /// Nobody new gets in; who waits is sent away; sessions end with their last lock.
    pub(crate) fn begin_close(&mut self) {
        self.closing = true;
        self.refuse_everybody(&Error::PoolClosed.into());
        self.wake_all();
    }

    /// Whether a new request is let in.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Error> {
        if self.closing {
            return Err(Error::PoolClosed);
        }
        match &self.quarantine {
            Some((error, until)) if now < *until => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Every session looks what there is to do.
    pub(crate) fn wake_all(&self) {
        for session in self.sessions.values() {
            session.inbox.notify_one();
        }
    }

    /// Everybody who waits gets this error; what was asked for them is forgotten as far as it has not been sent.
    pub(crate) fn refuse_everybody(&mut self, error: &SessionError) {
        for inspection in self.inspections.drain(..) {
            inspection.refuse(error, Phase::Connect);
        }
        let error = error.clone().of(Phase::Connect);
        for meet in self.to_meet.drain(..) {
            drop(meet.send(Err(error.clone())));
        }
        self.unassigned.clear();
        let keys: Vec<PhysicalKey> = self.keys.keys().cloned().collect();
        for key in keys {
            let Some(queue) = self.keys.get_mut(&key) else {
                continue;
            };
            while let Some(waiter) = queue.pop_front() {
                drop(
                    waiter
                        .reply
                        .send(Err(super::queue::Refusal::Failed(error.clone()))),
                );
            }
            queue.ask = queue.ask.filter(|ask| *ask != Ask::Try(None));
            self.forget(&key);
        }
    }

    pub(crate) fn inbox(&self, id: SessionId) -> Option<Arc<Notify>> {
        let session = self.sessions.get(&id)?;
        Some(Arc::clone(&session.inbox))
    }

    pub(crate) fn task_finished(&mut self, epoch: u64) {
        if self.life.epoch == epoch {
            self.tasks -= 1;
        }
    }

    /// The runtime has ended and with it the tasks of all sessions. Waiters notice that their channel is gone and start anew on their own runtime.
    ///
    /// Returns how many guards have lost their locks by it.
    pub(crate) fn runtime_ended(&mut self, epoch: u64) -> u64 {
        if self.life.epoch != epoch {
            return 0;
        }
        self.life = Life {
            epoch: epoch + 1,
            ..Life::default()
        };
        let queued = self.keys.values().map(|queue| queue.guards()).sum::<u64>();
        // Their tasks are dropped next, and are not to tell of it once more.
        let pinned = self.pinned.values_mut();
        let pinned = pinned.filter_map(|entry| entry.held.take()).count() as u64;
        let lost = queued + pinned;
        self.counters.lost += lost;
        for session in self.sessions.values() {
            session.lost.send_replace(Some(LossCause::Runtime));
        }
        self.sessions.clear();
        self.abandoned.clear();
        self.tasks = 0;
        self.keys.clear();
        self.unassigned.clear();
        self.inspections.clear();
        self.to_meet.clear();
        self.retries.clear();
        self.to_open.clear();
        self.long_waits_at = None;
        lost
    }

    /// Opens as many sessions as the demand wants and the settings allow.
    pub(crate) fn open_for_demand(&mut self, now: Instant) {
        let tries = self.unassigned.len() + self.inspections.len();
        let for_tries = tries.div_ceil(self.config.max_locks_per_session);
        let to_meet = usize::from(!self.to_meet.is_empty());
        // While a session is free, there is no time left to wait for the keys that are in back-off.
        let for_waits = match self.retries.is_empty() || self.session_for_wait().is_some() {
            true => 0,
            false => self.retries.len().min(self.config.max_sessions),
        };
        let wanted = for_tries.max(to_meet) + for_waits;
        if wanted == 0 {
            return;
        }
        let opening = self.sessions.values().filter(|session| !session.ready);
        let missing = wanted.saturating_sub(opening.count());
        let room = self.config.max_sessions.saturating_sub(self.sessions.len());
        if missing.min(room) == 0 {
            return;
        }
        // Without any session there is nothing to carry on with, so the server is asked again at once.
        if self.refused_until.is_some_and(|until| now < until) && !self.sessions.is_empty() {
            self.wake_keeper = true;
            return;
        }
        for _ in 0..missing.min(room) {
            let id = self.next_id();
            self.sessions.insert(id, SessionEntry::opening(now));
            self.tasks += 1;
            self.to_open.push(id);
            self.wake_keeper |= self.long_waits_at.is_none();
            self.long_waits_at.get_or_insert(now + LONG_WAIT);
        }
    }

    /// Where the next try goes: the first session with room that cannot wait anyhow, or else the first with room, so that the others stay free to wait; when all are
    /// full and no more can be had, the emptiest.
    pub(crate) fn session_for_try(
        &self,
        avoid: impl Fn(SessionId) -> bool,
        now: Instant,
    ) -> Option<SessionId> {
        let usable = || {
            let sessions = self.sessions.iter();
            sessions.filter(|(id, session)| session.can_try() && !avoid(**id))
        };
        let max = self.config.max_locks_per_session;
        let with_room = usable().filter(|(_, session)| session.load() < max);
        if let Some((id, _)) = with_room.min_by_key(|(_, session)| session.is_free()) {
            return Some(*id);
        }
        if self.more_may_come(now) {
            return None;
        }
        let emptiest = usable().min_by_key(|(_, session)| session.load());
        emptiest.map(|(id, _)| *id)
    }

    /// Whether a further session can be had, or is on its way.
    pub(crate) fn more_may_come(&self, now: Instant) -> bool {
        let room = self.sessions.len() < self.config.max_sessions;
        room && self.refused_until.is_none_or(|until| now >= until)
            || self.sessions.values().any(|session| !session.ready)
    }

    /// When the keeper has something to do next.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let wanted =
            !self.unassigned.is_empty() || !self.inspections.is_empty() || !self.to_meet.is_empty();
        let reopen = self.refused_until.filter(|_| wanted);
        [self.retries.next(), reopen, self.long_waits_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Where it is time to look for [long waits](Self::long_waits): every key.
    pub(crate) fn due_for_long_waits(&mut self, now: Instant) -> Vec<PhysicalKey> {
        if self.long_waits_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let somebody_may_come = !self.keys.is_empty() || !self.sessions.is_empty();
        self.long_waits_at = somebody_may_come.then(|| now + LONG_WAIT);
        self.keys.keys().cloned().collect()
    }

    /// The waits for one of these keys whose warning is due.
    pub(crate) fn long_waits(&mut self, keys: &[PhysicalKey], now: Instant) -> Vec<LongWait> {
        let mut found = Vec::new();
        for key in keys {
            let Some(queue) = self.keys.get_mut(key) else {
                continue;
            };
            let mut due = Vec::new();
            for waiter in &mut queue.waiters {
                let Some(next) = &mut waiter.next_warning else {
                    continue;
                };
                let since = waiter.wait.since;
                if *next <= now {
                    *next = next_warning(since, now);
                    due.push((since, waiter.mode));
                }
                // Many of them are looked at together.
                let next = (*next).max(now + LONG_WAIT / 20);
                self.long_waits_at = self.long_waits_at.map(|at| at.min(next));
            }
            if let (Some(name), false) = (queue.name.clone(), due.is_empty()) {
                found.extend(due.into_iter().map(|(since, mode)| LongWait {
                    key: name.clone(),
                    since,
                    held_by: self.held_by(key, mode, now),
                }));
            }
        }
        found
    }

    /// The holder that keeps a request of this mode waiting, as far as it is known here.
    pub(crate) fn held_by(&self, key: &PhysicalKey, mode: Mode, now: Instant) -> Option<HeldBy> {
        if let Some(since) = self.pinned_since(key, mode) {
            let held_for = now.duration_since(since);
            return Some(HeldBy::ThisProcess { held_for });
        }
        self.keys.get(key)?.held_by(mode, now)
    }

    /// Whether any session is open.
    pub(crate) fn has_session(&self) -> bool {
        self.sessions.values().any(|session| session.ready)
    }

    /// A session that holds nothing and may block on the server; one is always left for tries.
    pub(crate) fn session_for_wait(&self) -> Option<SessionId> {
        let able = || {
            let sessions = self.sessions.iter();
            sessions.filter(|(_, session)| session.can_try())
        };
        let _left_for_tries = able().nth(1)?;
        let mut free = able().filter(|(_, session)| session.can_wait && session.is_free());
        free.next_back().map(|(id, _)| *id)
    }

    /// 5 ms at first, doubled with each try up to a quarter of a second, each time between half and the whole of it.
    pub(crate) fn backoff(attempt: u32) -> Duration {
        let ceiling = Duration::from_millis(5 << attempt.min(6)).min(Duration::from_millis(250));
        ceiling.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}
