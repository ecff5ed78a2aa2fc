//! The mutex around the state, and the way into the runtime.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::config::Config;
use super::queue::SessionId;
use super::state::State;
use super::{keeper, pinned, worker};
use crate::backend::{Backend, Closed};
use crate::error::{Error, RUNTIME_ENDED};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// So many runtimes may end under one wait; on one that has ended already, no session can ever be opened.
pub(crate) const MAX_RUNTIMES: usize = 3;

pub(crate) struct Core {
    state: Mutex<State>,
    pub(crate) config: Arc<Config>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) application_closed: Option<tokio::sync::Mutex<Closed>>,
    /// Turns true when the pool closes.
    pub(crate) closing: watch::Sender<bool>,
    /// Turns true when the guards that are left lose their locks.
    pub(crate) abandoned: watch::Sender<bool>,
    /// Why the pool was [refused](Self::refuse) last.
    pub(crate) refusals: watch::Sender<Option<Error>>,
    /// One for each pinned session that there may be.
    pub(crate) pinned_sessions: Arc<Semaphore>,
    /// A task of the pool has ended.
    pub(crate) task_ended: Notify,
    pub(crate) wake_keeper: Notify,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        config: Config,
        runtime: Option<Handle>,
        application_closed: Option<Closed>,
    ) -> Arc<Self> {
        let config = Arc::new(config);
        Arc::new(Self {
            state: Mutex::new(State::new(Arc::clone(&config), runtime)),
            backend,
            application_closed: application_closed.map(tokio::sync::Mutex::new),
            closing: watch::Sender::new(false),
            abandoned: watch::Sender::new(false),
            refusals: watch::Sender::new(None),
            pinned_sessions: Arc::new(Semaphore::new(
                config.max_pinned_sessions.min(Semaphore::MAX_PERMITS),
            )),
            task_ended: Notify::new(),
            wake_keeper: Notify::new(),
            config,
        })
    }

    /// What the server will know this key by; if need be, a session is opened to find out.
    pub(crate) async fn physical_key(self: &Arc<Self>, key: &Key) -> Result<PhysicalKey, Error> {
        let mut runtimes = 0..MAX_RUNTIMES;
        loop {
            if let Some(physical) = self.try_physical_key(key)? {
                return Ok(physical);
            }
            runtimes.next().ok_or(Error::NoRuntime)?;
            let (meet, met) = oneshot::channel();
            self.with(|state, now| state.meet_server(meet, now));
            // A runtime that ends takes the sender with it: a session is opened anew on ours.
            met.await.unwrap_or(Ok(()))?;
        }
    }

    pub(crate) fn try_physical_key(&self, key: &Key) -> Result<Option<PhysicalKey>, Error> {
        let Some(key) = key.repr(|| self.backend.database())? else {
            return Ok(None);
        };
        // The key itself is checked, too: a namespace makes nothing valid.
        let rules = self.backend.rules();
        let plain = rules.physical_key(&key)?;
        match &self.config.namespace {
            Some(namespace) => rules.physical_key(&key.within(namespace)),
            None => Ok(plain),
        }
    }

    /// One change of the state, and afterwards, outside of the mutex, the tasks that it calls for.
    pub(crate) fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut State, Instant) -> R) -> R {
        let (result, lost, start) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let result = change(&mut state, now);
            let lost = state.exchange_locally(now);
            if std::mem::take(&mut state.wake_keeper) {
                self.wake_keeper.notify_one();
            }
            (result, lost, Start::needed(&mut state))
        };
        for key in lost {
            tracing::warn!(%key, "dlock: lock lost");
        }
        if let Some(start) = start {
            self.start(start);
        }
        result
    }

    fn start(self: &Arc<Self>, needed: Start) {
        let Start {
            runtime,
            keeper,
            sessions,
            epoch,
        } = needed;
        // A runtime that has ended drops a future before it starts, so what must hear of it is made here.
        if keeper {
            let keeper = keeper::Keeper::new(Arc::clone(self), epoch);
            runtime.spawn(keeper::run(keeper));
        }
        for id in sessions {
            let task = worker::Task::new(Arc::clone(self), id, epoch);
            runtime.spawn(worker::run(task));
        }
    }

    /// Starts the task of a pinned lock.
    pub(super) fn start_pinned(self: &Arc<Self>, order: pinned::Order) -> Result<SessionId, Error> {
        let begun = self.with(|state, now| {
            state.admit(now)?;
            let start = Start::of(state).ok_or(Error::NoRuntime)?;
            Ok::<_, Error>((state.begin_pinned(order.name.clone()), start))
        });
        let (id, start) = begun?;
        let runtime = start.runtime.clone();
        let task = pinned::Task::new(Arc::clone(self), id, start.epoch);
        self.start(start);
        runtime.spawn(pinned::run(task, order));
        Ok(id)
    }

    pub(crate) fn begin_close(self: &Arc<Self>) {
        if self.closing.send_replace(true) {
            return;
        }
        self.with(|state, _| state.begin_close());
        self.task_ended.notify_waiters();
    }

    /// A session of the pool got an answer of another one: all guards of the pool lose their locks,
    /// and its waiters and the next requests get this error. A session that the pool has lost before
    /// changes nothing.
    pub(crate) fn refuse(self: &Arc<Self>, session: SessionId, number: i64, error: &Error) {
        let Some(lost) = self.with(|state, now| state.refuse(session, error, now)) else {
            return;
        };
        tracing::error!(session = number, %error, "dlock: lock pool refused");
        for key in lost {
            tracing::warn!(%key, "dlock: lock lost");
        }
        self.refusals.send_replace(Some(error.clone()));
    }

    /// A further session could not be opened. When it was on another server than the others, these
    /// have to show that theirs still answers.
    pub(crate) fn settle_dispute(self: &Arc<Self>) {
        if self.backend.is_disputed() {
            self.with(|state, _| state.prove_all());
        }
    }

    /// Tells every guard that its lock is lost.
    pub(crate) fn abandon(self: &Arc<Self>) {
        self.with(|state, _| state.abandon());
        self.abandoned.send_replace(true);
    }

    /// The runtime of the pool's tasks is over, which each of them reports.
    pub(super) fn runtime_ended(self: &Arc<Self>, epoch: u64) {
        tell_of_runtime(self.with(|state, _| state.runtime_ended(epoch)));
    }

    /// The error of a request at its deadline: `Timeout` with the holder, or the connection error
    /// while no session could be opened.
    pub(super) fn timed_out(
        self: &Arc<Self>,
        name: &Key,
        mode: Mode,
        wait: Wait,
        awaits_session: impl FnOnce(&State) -> bool,
    ) -> Error {
        let key = self.try_physical_key(name).ok().flatten();
        let (awaits_session, held_by) = self.with(|state, now| {
            let held_by = key.and_then(|key| state.held_by(&key, mode, now));
            (awaits_session(state), held_by)
        });
        let trouble = match awaits_session {
            true => self.backend.trouble(),
            false => None,
        };
        trouble.unwrap_or_else(|| Error::Timeout {
            key: name.clone(),
            waited: wait.since.elapsed(),
            held_by,
        })
    }

    /// How long a request waits.
    pub(crate) fn wait(&self, timeout: Option<Duration>, one_try: bool) -> Wait {
        match one_try {
            true => Wait::once(timeout),
            false => Wait::start(timeout.or(self.config.default_timeout)),
        }
    }

    /// Waits until the last session has ended.
    pub(crate) async fn drained(self: &Arc<Self>) {
        loop {
            let ended = self.task_ended.notified();
            if self.with(|state, _| state.is_drained()) {
                return;
            }
            ended.await;
        }
    }
}

/// Logs that a runtime ended with so many guards.
pub(super) fn tell_of_runtime(locks: u64) {
    if locks > 0 {
        tracing::warn!(locks, "dlock: locks were lost {RUNTIME_ENDED}");
    }
}

/// Tasks to start.
struct Start {
    runtime: Handle,
    keeper: bool,
    sessions: Vec<SessionId>,
    epoch: u64,
}

impl Start {
    fn needed(state: &mut State) -> Option<Self> {
        if state.to_open.is_empty() {
            return None;
        }
        let start = Self::of(state);
        if start.is_none() {
            state.tasks -= state.to_open.len();
            state.to_open.clear();
            state.sessions.retain(|_, session| session.ready);
            state.refuse_everybody(&Error::NoRuntime.into());
        }
        start
    }

    /// All that is to start, on the runtime of the pool, or else on the current one.
    fn of(state: &mut State) -> Option<Self> {
        let runtime = match &state.life.runtime {
            Some(runtime) => runtime.clone(),
            None => state
                .life
                .runtime
                .insert(Handle::try_current().ok()?)
                .clone(),
        };
        Some(Self {
            runtime,
            keeper: !std::mem::replace(&mut state.life.has_keeper, true),
            sessions: std::mem::take(&mut state.to_open),
            epoch: state.life.epoch,
        })
    }
}
