//! Sessions of the server in memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{DatabaseConnection, DbErr};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Fault, Server, WRONG};
use crate::backend::{
    Answer, Answers, Backend, Batch, Capabilities, InlineSession, LockRules, PinnedBase, Request,
    Session, SessionError, UpgradeLocks,
};
use crate::error::Error;
use crate::key::{CurrentDatabase, KeyRepr, PhysicalKey};
use crate::mode::Mode;
use crate::server_lock::ServerLock;

pub(super) struct FakeBackend {
    pub(super) server: Arc<Server>,
    pub(super) client: &'static str,
}

static RULES: LockRules = LockRules {
    database: "the fake",
    modes: &[Mode::Exclusive, Mode::Shared, Mode::Update],
    physical_key: |key| match key {
        KeyRepr::Int(int) => Ok(Some(PhysicalKey::Int(*int))),
        _ => panic!("the fake has numbers only: {key}"),
    },
    refusal: None,
};

#[async_trait]
impl Backend for FakeBackend {
    fn rules(&self) -> &'static LockRules {
        &RULES
    }

    fn capabilities(&self) -> Capabilities {
        self.server.capabilities()
    }

    fn database(&self) -> CurrentDatabase {
        CurrentDatabase::Unknown
    }

    async fn connect(&self) -> Result<Box<dyn Session>, SessionError> {
        sleep(self.server.latency).await;
        Ok(Box::new(FakeSession(Arc::new(Seat {
            id: self.server.open()?,
            server: Arc::clone(&self.server),
            client: self.client,
        }))))
    }

    fn is_disputed(&self) -> bool {
        self.server.state().is_disputed
    }

    fn exclusion_probe(&self) -> Option<PhysicalKey> {
        let is_known = self.server.state().excludes;
        self.server.probe.clone().filter(|_| !is_known)
    }

    fn set_excludes(&self) {
        self.server.state().excludes = true;
    }

    fn refuse_for_good(&self, error: &Error) {
        self.server.state().verdict = Some(error.clone());
    }

    async fn open_pinned(&self) -> Result<PinnedBase, SessionError> {
        Ok(PinnedBase::Sidecar {
            connection: DatabaseConnection::default(),
            is_private: false,
        })
    }
}

impl Server {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            waits: self.can_wait,
            heartbeat: self.is_asked.then_some(Duration::from_millis(500)),
            tells_holders: false,
            upgrades: true,
        }
    }
}

struct FakeSession(Arc<Seat>);

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
    fn check(&self) -> Result<(), SessionError> {
        match self.server.state().alive.contains(&self.id) {
            true => Ok(()),
            false => Err(SessionError::Ended(DbErr::Custom(
                "the session is dead".into(),
            ))),
        }
    }

    /// The client hears first, the server frees the locks a little later: so whoever holds wrongly after that does so by our fault.
    fn die(&self) -> SessionError {
        self.server.state().alive.remove(&self.id);
        SessionError::Ended(DbErr::Custom("the session died".into()))
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
            let free = self.server.grants_all
                || state.is_free(self.id, request) && !state.is_awaited(request);
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

impl InlineSession for Seat {
    /// What dies here is not the session: somebody takes away what is being released.
    fn exchange(&self, batch: &Batch) -> Answers {
        self.server.statements.fetch_add(1, Ordering::Relaxed);
        let fault = (self.server.state()).next_fault(|fault| !fault.is_met_at_open());
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
    fn number(&self) -> i64 {
        i64::try_from(self.0.id).expect("BUG: few sessions")
    }

    fn capabilities(&self) -> Capabilities {
        self.0.server.capabilities()
    }

    fn inline(&self) -> Option<Arc<dyn InlineSession>> {
        (self.0.server.is_local).then(|| Arc::<Seat>::clone(&self.0) as _)
    }

    fn upgrade_locks(&mut self) -> Option<&mut dyn UpgradeLocks> {
        Some(self)
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        let fault = self.0.server.round_trip().await;
        self.0.check()?;
        match fault {
            Some(Fault::DieBefore) => Err(self.0.die()),
            Some(Fault::DieAfter) => {
                self.0.apply(batch);
                Err(self.0.die())
            }
            Some(Fault::WrongSession) => Err(SessionError::Refused(WRONG)),
            Some(Fault::Fail) => Ok(self.0.refuse(batch)),
            _ => Ok(self.0.apply(batch)),
        }
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError> {
        let until = Instant::now() + slice;
        let fault = self.0.server.round_trip().await;
        self.0.check()?;
        match fault {
            Some(Fault::WrongSession) => return Err(SessionError::Refused(WRONG)),
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
            let (granted, expired) = {
                self.0.check()?;
                let mut state = self.0.server.state();
                let queue = state.queues.get(&request.key);
                let first = queue.is_some_and(|queue| queue[0].0 == self.0.id);
                let expired = Instant::now() >= until;
                let granted = first && !expired && state.is_free(self.0.id, request);
                if granted {
                    state.take(self.0.client, self.0.id, request);
                }
                (granted, expired)
            };
            if granted || expired {
                sleep(self.0.server.delay).await;
                return Ok(granted.into());
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        self.0.server.pings.fetch_add(1, Ordering::Relaxed);
        match self.0.server.round_trip().await {
            Some(Fault::WrongSession) => Err(SessionError::Refused(WRONG)),
            _ => self.0.check(),
        }
    }

    async fn locks(&mut self, _: &[PhysicalKey]) -> Result<Vec<ServerLock>, SessionError> {
        sleep(self.0.server.latency).await;
        Ok(Vec::new())
    }

    async fn gone(&mut self) -> SessionError {
        if self.0.server.is_asked {
            return std::future::pending().await;
        }
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

#[async_trait]
impl UpgradeLocks for FakeSession {
    async fn upgrade(
        &mut self,
        request: &Request,
        slice: Duration,
    ) -> Result<Answer, SessionError> {
        let fault = self.0.server.round_trip().await;
        self.0.check()?;
        match fault {
            Some(Fault::WrongSession) => return Err(SessionError::Refused(WRONG)),
            Some(Fault::DieBefore | Fault::DieAfter) => return Err(self.0.die()),
            Some(Fault::Fail) => {
                return Ok(Answer::Failed(DbErr::Custom(
                    "refused by the server".into(),
                )));
            }
            _ => {}
        }
        let upgraded = async {
            loop {
                let changed = self.0.server.changed.notified();
                if self.0.server.state().upgrade(self.0.id, request) {
                    return;
                }
                changed.await;
            }
        };
        let upgraded = timeout(slice, upgraded).await.is_ok();
        self.0.check()?;
        Ok(Answer::from(upgraded))
    }
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
