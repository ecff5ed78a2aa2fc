//! A database server in memory: grants locks like PostgreSQL does, in order, to sessions of several clients; counts and logs what it is asked, and fails as told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::DbErr;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::LockPool;
use super::super::config::Config;
use super::super::core::Core;
use super::super::registry::Owner;
use crate::dialect::Dialect;
use crate::error::{Error, Phase};
use crate::key::{Key, KeyRepr, PhysicalKey};
use crate::mode::Mode;
use crate::server_lock::ServerLock;
use crate::session::{Answer, Answers, Batch, Connector, Local, Request, Session};

/// What goes wrong with the next statement, or connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is refused.
    Refuse,
    /// Every request of the statement is refused; nothing changes.
    Fail,
    /// The session dies before the statement does anything.
    DieBefore,
    /// The session dies after the statement has taken effect.
    DieAfter,
    /// The answer takes this long.
    Slow(Duration),
}

#[derive(Default)]
pub(super) struct Server {
    state: Mutex<State>,
    changed: Notify,
    /// What a round trip takes.
    pub(super) latency: Duration,
    pub(super) can_wait: bool,
    /// Whether sessions answer at once.
    pub(super) is_local: bool,
    statements: AtomicU64,
    most_tries: AtomicUsize,
}

#[derive(Default)]
struct State {
    last_session: u64,
    alive: HashSet<u64>,
    locks: HashMap<PhysicalKey, Vec<(u64, Mode)>>,
    queues: HashMap<PhysicalKey, VecDeque<(u64, Mode)>>,
    faults: VecDeque<Fault>,
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
        let conflict = |(holder, mode): &(u64, Mode)| {
            *holder != session && (*mode == Mode::Exclusive || request.mode == Mode::Exclusive)
        };
        !holders.into_iter().any(conflict)
    }

    /// A try fails also when it would overtake somebody who waits.
    fn is_awaited(&self, request: &Request) -> bool {
        let mut queue = self.queues.get(&request.key).into_iter().flatten();
        queue.any(|(_, mode)| *mode == Mode::Exclusive || request.mode == Mode::Exclusive)
    }

    fn take(&mut self, client: &'static str, session: u64, request: &Request) {
        let holders = self.locks.entry(request.key.clone()).or_default();
        holders.push((session, request.mode));
        self.grants.push((client, request.key.clone()));
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

    /// One whose sessions answer at once.
    pub(super) fn local() -> Arc<Self> {
        Arc::new(Self {
            can_wait: true,
            is_local: true,
            ..Self::default()
        })
    }

    /// A pool of this client's own.
    pub(super) fn pool(self: &Arc<Self>, client: &'static str, config: Config) -> LockPool {
        let connector = FakeConnector {
            server: Arc::clone(self),
            client,
        };
        let core = Core::new(Arc::new(connector), config, None, None);
        LockPool(Ok(Arc::new(Owner { core })))
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

    /// Of one batch.
    pub(super) fn most_tries(&self) -> usize {
        self.most_tries.load(Ordering::Relaxed)
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

    fn open(&self) -> Result<u64, Error> {
        let mut state = self.state();
        if state.next_fault(|fault| fault == Fault::Refuse).is_some() {
            return Err(Phase::Connect.failed(DbErr::Custom("refused".into())));
        }
        state.last_session += 1;
        let id = state.last_session;
        state.alive.insert(id);
        Ok(id)
    }

    async fn round_trip(&self) -> Option<Fault> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        sleep(self.latency).await;
        let fault = self.state().next_fault(|fault| fault != Fault::Refuse);
        if let Some(Fault::Slow(delay)) = fault {
            sleep(delay).await;
        }
        fault
    }
}

pub(super) struct FakeConnector {
    server: Arc<Server>,
    client: &'static str,
}

struct FakeDialect;

impl Dialect for FakeDialect {
    fn physical_key(&self, key: &Key) -> Result<PhysicalKey, Error> {
        match key.repr() {
            KeyRepr::Int(int) => Ok(PhysicalKey::Int(*int)),
            _ => panic!("the fake has numbers only: {key}"),
        }
    }
}

#[async_trait]
impl Connector for FakeConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        &FakeDialect
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        sleep(self.server.latency).await;
        Ok(Box::new(FakeSession(Arc::new(Seat {
            id: self.server.open()?,
            server: Arc::clone(&self.server),
            client: self.client,
        }))))
    }
}

pub(super) struct FakeSession(Arc<Seat>);

/// A session's place on the server.
struct Seat {
    server: Arc<Server>,
    client: &'static str,
    id: u64,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat")
            .field(&self.client)
            .field(&self.id)
            .finish()
    }
}

impl Seat {
    fn check(&self) -> Result<(), DbErr> {
        match self.server.state().alive.contains(&self.id) {
            true => Ok(()),
            false => Err(DbErr::Custom("the session is dead".into())),
        }
    }

    /// The client hears first, the server frees the locks a little later: so whoever holds wrongly after that does so by our fault.
    fn die(&self) -> DbErr {
        self.server.state().alive.remove(&self.id);
        DbErr::Custom("the session died".into())
    }

    fn apply(&self, batch: &Batch) -> Answers {
        let tries = batch.tries.len();
        self.server.most_tries.fetch_max(tries, Ordering::Relaxed);
        let mut state = self.server.state();
        let releases = batch.releases.iter();
        let releases = releases.map(|request| state.give_back(self.id, request).into());
        let releases = releases.collect();
        let mut tries = Vec::new();
        for request in &batch.tries {
            let free = state.is_free(self.id, request) && !state.is_awaited(request);
            if free {
                state.take(self.client, self.id, request);
            }
            tries.push(Answer::from(free));
        }
        drop(state);
        // Those who wait are served at the release, before anybody else's next try.
        self.server.changed.notify_waiters();
        Answers { releases, tries }
    }

    /// The server refuses what is asked for; what is given back it takes.
    fn refuse(&self, batch: &Batch) -> Answers {
        let releases = Batch {
            releases: batch.releases.clone(),
            tries: Vec::new(),
        };
        let failed = Answer::Failed(DbErr::Custom("refused by the server".into()));
        Answers {
            releases: self.apply(&releases).releases,
            tries: batch.tries.iter().map(|_| failed.clone()).collect(),
        }
    }
}

impl Local for Seat {
    /// What dies here is not the session: somebody takes away what is being released.
    fn exchange(&self, batch: &Batch) -> Answers {
        self.server.statements.fetch_add(1, Ordering::Relaxed);
        let fault = (self.server.state()).next_fault(|fault| fault != Fault::Refuse);
        match fault {
            Some(Fault::Fail) => self.refuse(batch),
            Some(Fault::DieBefore | Fault::DieAfter) => Answers {
                releases: vec![Answer::No; batch.releases.len()],
                ..self.apply(batch)
            },
            _ => self.apply(batch),
        }
    }

    fn holds(&self, key: &PhysicalKey) -> bool {
        let state = self.server.state();
        let mut holders = state.locks.get(key).into_iter().flatten();
        holders.any(|(session, _)| *session == self.id)
    }

    fn leave(&self) {
        self.server.state().leave(self.id);
        self.server.changed.notify_waiters();
    }
}

/// Leaves the queue with the wait, also when that is dropped.
struct Queued<'a>(&'a Seat);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[async_trait]
impl Session for FakeSession {
    fn can_wait(&self) -> bool {
        self.0.server.can_wait
    }

    fn local(&self) -> Option<Arc<dyn Local>> {
        (self.0.server.is_local).then(|| Arc::<Seat>::clone(&self.0) as _)
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, DbErr> {
        let fault = self.0.server.round_trip().await;
        self.0.check()?;
        match fault {
            Some(Fault::DieBefore) => Err(self.0.die()),
            Some(Fault::DieAfter) => {
                self.0.apply(batch);
                Err(self.0.die())
            }
            Some(Fault::Fail) => Ok(self.0.refuse(batch)),
            _ => Ok(self.0.apply(batch)),
        }
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, DbErr> {
        let until = Instant::now() + slice;
        let fault = self.0.server.round_trip().await;
        self.0.check()?;
        match fault {
            Some(Fault::DieBefore | Fault::DieAfter) => return Err(self.0.die()),
            Some(Fault::Fail) => {
                let error = DbErr::Custom("refused by the server".into());
                return Ok(Answer::Failed(error));
            }
            _ => {}
        }
        {
            let mut state = self.0.server.state();
            let holds = state
                .locks
                .values()
                .flatten()
                .any(|held| held.0 == self.0.id);
            assert!(!holds, "session {} waits while it holds", self.0.id);
            let queue = state.queues.entry(request.key.clone()).or_default();
            queue.push_back((self.0.id, request.mode));
        }
        let _queued = Queued(&self.0);
        loop {
            let changed = self.0.server.changed.notified();
            {
                self.0.check()?;
                let mut state = self.0.server.state();
                let queue = state.queues.get(&request.key);
                let first = queue.is_some_and(|queue| queue[0].0 == self.0.id);
                let expired = Instant::now() >= until;
                let granted = first && !expired && state.is_free(self.0.id, request);
                if granted || expired {
                    if granted {
                        state.take(self.0.client, self.0.id, request);
                    }
                    return Ok(granted.into());
                }
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }

    async fn ping(&mut self) -> Result<(), DbErr> {
        self.0.server.round_trip().await;
        self.0.check()
    }

    async fn locks(&mut self) -> Result<Vec<ServerLock>, DbErr> {
        Ok(Vec::new())
    }

    async fn gone(&mut self) -> DbErr {
        loop {
            let changed = self.0.server.changed.notified();
            if let Err(error) = self.0.check() {
                return error;
            }
            changed.await;
        }
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        let (server, id) = (Arc::clone(&self.0.server), self.0.id);
        let bury = move || {
            server.state().bury(id);
            server.changed.notify_waiters();
        };
        match self.0.check() {
            Ok(()) => bury(),
            Err(_) => drop(tokio::spawn(async move {
                sleep(Duration::from_millis(2)).await;
                bury();
            })),
        }
    }
}
