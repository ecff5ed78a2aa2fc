//! A database server in memory: grants locks like PostgreSQL does, in order, to sessions of several clients; counts and logs what it is asked, and fails as told.

mod session;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sea_orm::DbErr;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use self::session::FakeBackend;
use super::super::LockPool;
use super::super::config::Config;
use super::super::core::Core;
use super::super::registry::Owner;
use crate::backend::{Backend as _, Opened, Request, Session, SessionError};
use crate::error::Error;
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// What goes wrong with the next statement, or connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is refused.
    Refuse,
    /// The connection is refused, since locks on it would be false.
    WrongServer,
    /// Every request of the statement is refused; nothing changes.
    Fail,
    /// The code of a session that answers at once panics.
    Panic,
    /// The session dies before the statement does anything.
    DieBefore,
    /// The session dies after the statement has taken effect.
    DieAfter,
    /// Another session answers in the place of the one that was asked.
    WrongSession,
    /// The answer takes this long.
    Slow(Duration),
}

impl Fault {
    pub(super) fn is_met_at_open(self) -> bool {
        matches!(self, Self::Refuse | Self::WrongServer)
    }
}

pub(super) const PROBE: PhysicalKey = PhysicalKey::Int(i64::MAX);

pub(super) const WRONG: Error = Error::refused("another", "this one", "connect directly");

#[derive(Default)]
pub(super) struct Server {
    state: Mutex<State>,
    changed: Notify,
    /// What a round trip takes.
    pub(super) latency: Duration,
    pub(super) can_wait: bool,
    /// Whether sessions answer at once.
    pub(super) is_local: bool,
    /// Whether a session has to be asked for its end.
    pub(super) is_asked: bool,
    /// A lock on which two sessions may try whether they exclude each other.
    pub(super) probe: Option<PhysicalKey>,
    /// How long the answer to a wait takes.
    pub(super) delay: Duration,
    /// It grants every lock to every session.
    pub(super) grants_all: bool,
    pings: AtomicU64,
    statements: AtomicU64,
}

#[derive(Default)]
struct State {
    last_session: u64,
    alive: HashSet<u64>,
    /// Locks of sessions that answer at once, each of which has a number of its own.
    alive_locks: HashSet<u64>,
    locks: HashMap<PhysicalKey, Vec<(u64, Mode)>>,
    queues: HashMap<PhysicalKey, VecDeque<(u64, Mode)>>,
    faults: VecDeque<Fault>,
    /// What its clients know of it.
    is_disputed: bool,
    excludes: bool,
    verdict: Option<Error>,
    /// Which client was granted which key, in order.
    grants: Vec<(&'static str, PhysicalKey)>,
}

impl State {
    fn next_fault(&mut self, fits: impl Fn(Fault) -> bool) -> Option<Fault> {
        let index = self.faults.iter().position(|fault| fits(*fault))?;
        self.faults.remove(index)
    }

    fn is_free(&self, session: u64, request: &Request) -> bool {
        let holders = self.locks.get(&request.key).into_iter().flatten();
        let conflict =
            |(holder, mode): &(u64, Mode)| *holder != session && !mode.coexists_with(request.mode);
        !holders.into_iter().any(conflict)
    }

    /// A try fails also when it would overtake somebody who waits.
    fn is_awaited(&self, request: &Request) -> bool {
        let mut queue = self.queues.get(&request.key).into_iter().flatten();
        queue.any(|(_, mode)| !mode.coexists_with(request.mode))
    }

    fn take(&mut self, client: &'static str, session: u64, request: &Request) {
        let holders = self.locks.entry(request.key.clone()).or_default();
        holders.push((session, request.mode));
        self.grants.push((client, request.key.clone()));
    }

    /// The server's own: first come, and before those who have nothing yet.
    fn upgrade(&mut self, session: u64, request: &Request) -> bool {
        let free = self.is_free(session, request);
        let holders = self.locks.get_mut(&request.key);
        let mine = holders.and_then(|holders| holders.iter_mut().find(|held| held.0 == session));
        if let Some(mine) = mine.filter(|_| free) {
            mine.1 = request.mode;
        }
        free
    }

    fn give_back(&mut self, session: u64, request: &Request) -> bool {
        let Some(holders) = self.locks.get_mut(&request.key) else {
            return false;
        };
        let Some(index) = holders
            .iter()
            .position(|held| *held == (session, request.mode))
        else {
            return false;
        };
        holders.remove(index);
        self.locks.retain(|_, holders| !holders.is_empty());
        true
    }

    fn bury(&mut self, session: u64) {
        self.alive.remove(&session);
        self.alive_locks.remove(&session);
        self.locks
            .values_mut()
            .for_each(|holders| holders.retain(|(holder, _)| *holder != session));
        self.locks.retain(|_, holders| !holders.is_empty());
        self.leave(session);
    }

    fn leave(&mut self, session: u64) {
        self.queues
            .values_mut()
            .for_each(|queue| queue.retain(|(waiter, _)| *waiter != session));
        self.queues.retain(|_, queue| !queue.is_empty());
    }
}

impl Server {
    pub(super) fn new() -> Arc<Self> {
        Self::with_latency(Duration::from_micros(200))
    }

    pub(super) fn with_latency(latency: Duration) -> Arc<Self> {
        Arc::new(Self {
            latency,
            can_wait: true,
            ..Self::default()
        })
    }

    /// One that is busy: the answer to a wait takes so long.
    pub(super) fn with_delay(delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            latency: Duration::from_micros(200),
            can_wait: true,
            delay,
            ..Self::default()
        })
    }

    /// One whose sessions answer at once.
    pub(super) fn local() -> Arc<Self> {
        Arc::new(Self {
            can_wait: true,
            is_local: true,
            ..Self::default()
        })
    }

    /// One whose sessions end unseen.
    pub(super) fn asked() -> Arc<Self> {
        Arc::new(Self {
            latency: Duration::from_micros(200),
            can_wait: true,
            is_asked: true,
            ..Self::default()
        })
    }

    /// One on which two sessions try whether their locks exclude.
    pub(super) fn probed(grants_all: bool) -> Arc<Self> {
        Arc::new(Self {
            latency: Duration::from_micros(200),
            can_wait: true,
            probe: Some(PROBE),
            grants_all,
            ..Self::default()
        })
    }

    /// A pool of this client's own.
    pub(super) fn pool(self: &Arc<Self>, client: &'static str, config: Config) -> LockPool {
        let backend = FakeBackend {
            server: Arc::clone(self),
            client,
        };
        let core = Core::new(Arc::new(backend), config, None, None);
        LockPool(Ok(Arc::new(Owner { core })))
    }

    /// A session of somebody who has no pool.
    pub(super) async fn session(self: &Arc<Self>, client: &'static str) -> Box<dyn Session> {
        let server = Arc::clone(self);
        match (FakeBackend { server, client }).connect().await {
            Ok(Opened::Server(session)) => session,
            Ok(Opened::Inline(_)) => panic!("a session that answers at once waits for no task"),
            Err(error) => panic!("{error}"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// What of [`inject`](Self::inject) has not happened yet.
    pub(super) fn forget_faults(&self) {
        self.state().faults.clear();
    }

    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    pub(super) fn pings(&self) -> u64 {
        self.pings.load(Ordering::Relaxed)
    }

    /// How often a key was granted.
    pub(super) fn grants_of(&self, key: &PhysicalKey) -> usize {
        let state = self.state();
        state
            .grants
            .iter()
            .filter(|(_, granted)| granted == key)
            .count()
    }

    pub(super) fn grants(&self) -> Vec<&'static str> {
        self.state()
            .grants
            .iter()
            .map(|(client, _)| *client)
            .collect()
    }

    pub(super) fn held(&self) -> usize {
        self.state().locks.values().map(Vec::len).sum()
    }

    /// Sessions in the queue of a key.
    pub(super) fn waiting(&self) -> usize {
        self.state().queues.values().map(VecDeque::len).sum()
    }

    pub(super) fn sessions(&self) -> usize {
        self.state().alive.len()
    }

    /// Ends the session that holds this key.
    pub(super) fn kill_holder(&self, key: i64) {
        let mut state = self.state();
        let (session, _) = state.locks[&PhysicalKey::Int(key)][0];
        state.bury(session);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Fails when the condition has not come true within a minute.
    pub(super) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            assert!(Instant::now() < deadline, "it did not come true");
            tokio::select! {
                () = changed => {}
                () = sleep(Duration::from_millis(1)) => {}
            }
        }
    }

    fn open(&self) -> Result<u64, SessionError> {
        let mut state = self.state();
        match state.next_fault(Fault::is_met_at_open) {
            Some(Fault::WrongServer) => {
                state.is_disputed = true;
                return Err(SessionError::Refused(WRONG));
            }
            Some(_) => return Err(SessionError::Ended(DbErr::Custom("refused".into()))),
            None => {}
        }
        if let Some(verdict) = &state.verdict {
            return Err(SessionError::Refused(verdict.clone()));
        }
        state.last_session += 1;
        let id = state.last_session;
        state.alive.insert(id);
        Ok(id)
    }

    async fn round_trip(&self) -> Option<Fault> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        sleep(self.latency).await;
        let fault = self.state().next_fault(|fault| !fault.is_met_at_open());
        if let Some(Fault::Slow(delay)) = fault {
            sleep(delay).await;
        }
        fault
    }
}
