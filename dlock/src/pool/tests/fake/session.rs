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
    Answer, Answers, Backend, Batch, Capabilities, Hold, InlineSession, LockRules, Opened,
    PinnedBase, Request, Session, SessionError, UpgradeLocks,
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
    modes: &[Mode::Exclusive, Mode::Shared, Mode::Update, Mode::SubShared],
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

    fn upgrades(&self) -> bool {
        true
    }

    fn database(&self) -> CurrentDatabase {
        CurrentDatabase::Unknown
    }

    async fn connect(&self) -> Result<Opened, SessionError> {
        sleep(self.server.latency).await;
        let seat = Seat {
            id: self.server.open()?,
            server: Arc::clone(&self.server),
            client: self.client,
        };
        Ok(match self.server.is_local {
            true => Opened::Inline(Arc::new(LocalSession(seat))),
            false => FakeSession(seat).into(),
        })
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
        }
    }
}

struct FakeSession(Seat);

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
        let state = self.server.state();
        match state.alive.contains(&self.id) || state.alive_locks.contains(&self.id) {
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

    /// Waits in the server's queue.
    async fn wait(&self, request: &Request, until: Instant) -> Result<Answer, SessionError> {
        {
            let mut state = self.server.state();
            let holds = state.locks.values().flatten().any(|held| held.0 == self.id);
            assert!(!holds, "session {} waits while it holds", self.id);
            let queue = state.queues.entry(request.key.clone()).or_default();
            queue.push_back((self.id, request.mode));
        }
        let _queued = Queued(self);
        loop {
            let changed = self.server.changed.notified();
            let (granted, expired) = {
                self.check()?;
                let mut state = self.server.state();
                let queue = state.queues.get(&request.key);
                let first = queue.is_some_and(|queue| queue[0].0 == self.id);
                let expired = Instant::now() >= until;
                let granted = first && !expired && state.is_free(self.id, request);
                if granted {
                    state.take(self.client, self.id, request);
                }
                (granted, expired)
            };
            if granted || expired {
                sleep(self.server.delay).await;
                return Ok(granted.into());
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
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

/// Leaves the queue with the wait, also when that is dropped.
struct Queued<'a>(&'a Seat);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.server.state().leave(self.0.id);
        self.0.server.changed.notify_waiters();
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
        self.0.wait(request, until).await
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
        {
            // It goes before those that have nothing yet.
            let mut state = self.0.server.state();
            let queue = state.queues.entry(request.key.clone()).or_default();
            queue.push_front((self.0.id, request.mode));
        }
        let queued = Queued(&self.0);
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
        drop(queued);
        self.0.check()?;
        Ok(Answer::from(upgraded))
    }
}

/// A session that answers at once.
#[derive(Debug)]
struct LocalSession(Seat);

impl LocalSession {
    /// Each lock has a seat of its own.
    fn seat(&self) -> Seat {
        let mut state = self.0.server.state();
        state.last_session += 1;
        let id = state.last_session;
        state.alive_locks.insert(id);
        drop(state);
        Seat {
            server: Arc::clone(&self.0.server),
            client: self.0.client,
            id,
        }
    }
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.0.server.state().bury(self.0.id);
    }
}

#[async_trait]
impl InlineSession for LocalSession {
    fn number(&self) -> i64 {
        i64::try_from(self.0.id).expect("BUG: few sessions")
    }

    fn try_lock(&self, request: &Request) -> Result<Option<Box<dyn Hold>>, DbErr> {
        self.0.server.statements.fetch_add(1, Ordering::Relaxed);
        let fits = |fault| matches!(fault, Fault::Fail | Fault::Panic);
        let fault = self.0.server.state().next_fault(fits);
        assert_ne!(fault, Some(Fault::Panic), "a fault of a test");
        if fault.is_some() {
            return Err(DbErr::Custom("refused by the server".into()));
        }
        let held = HeldSeat {
            seat: self.seat(),
            mode: request.mode,
            key: request.key.clone(),
        };
        let batch = Batch::of_one_try(request);
        let is_taken = matches!(held.seat.apply(&batch).tries[..], [Answer::Yes]);
        Ok(is_taken.then(|| Box::new(held) as Box<dyn Hold>))
    }

    async fn wait(
        &self,
        request: &Request,
        slice: Duration,
    ) -> Result<Option<Box<dyn Hold>>, DbErr> {
        let held = HeldSeat {
            seat: self.seat(),
            mode: request.mode,
            key: request.key.clone(),
        };
        match held.seat.wait(request, Instant::now() + slice).await {
            Ok(Answer::Yes) => Ok(Some(Box::new(held))),
            _ => Ok(None),
        }
    }

    /// The wait that is dropped leaves the queue.
    fn leave(&self) {}

    async fn locks(&self) -> Result<Vec<ServerLock>, DbErr> {
        Ok(Vec::new())
    }
}

/// A lock that was taken inline.
struct HeldSeat {
    seat: Seat,
    mode: Mode,
    key: PhysicalKey,
}

impl Hold for HeldSeat {
    /// Another process may take it away.
    fn is_in_place(&self) -> Result<bool, DbErr> {
        let mut state = self.seat.server.state();
        let is_taken_away = |fault| matches!(fault, Fault::DieBefore | Fault::DieAfter);
        if state.next_fault(is_taken_away).is_some() {
            state.bury(self.seat.id);
        }
        let mut holders = state.locks.get(&self.key).into_iter().flatten();
        Ok(holders.any(|held| *held == (self.seat.id, self.mode)))
    }
}

impl Drop for HeldSeat {
    fn drop(&mut self) {
        self.seat.server.state().bury(self.seat.id);
        self.seat.server.changed.notify_waiters();
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
