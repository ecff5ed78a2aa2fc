//! A session without a server, for locks that end at the host or the process. The calling thread
//! carries out its tries and releases at once.
//!
//! Exclusion rests on the lock alone. Each lock has a turn as well, for fairness: a waiter takes
//! the turn, and no other session tries for the lock while it is taken. So a session that comes
//! back again and again, or readers that overlap, cannot starve a waiter, which retries only every
//! few milliseconds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::DbErr;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::place::{Hold, Place};
use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::capabilities::Capabilities;
use crate::backend::session::{InlineSession, Session};
use crate::backend::session_error::SessionError;
use crate::key::PhysicalKey;
use crate::server_lock::ServerLock;

/// A waiter retries after this long. Each pause is twice the last one, up to the longest, less a
/// random part.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// When something moves while the locks are listed, so many looks make a listing.
const LOOKS: usize = 5;

/// A session answers at once, and waits by trying again.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    waits: true,
    heartbeat: None,
    tells_holders: false,
    upgrades: false,
};

/// What one session holds.
struct Held {
    place: Arc<dyn Place>,
    locks: Mutex<HashMap<PhysicalKey, Box<dyn Hold>>>,
    /// It waits for one lock at most.
    turn: Mutex<Option<Box<dyn Hold>>>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.place).finish()
    }
}

impl Held {
    fn locks(&self) -> MutexGuard<'_, HashMap<PhysicalKey, Box<dyn Hold>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, Option<Box<dyn Hold>>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is our turn to wait for this lock.
    fn take_turn(&self, key: &PhysicalKey) -> bool {
        let mut turn = self.turn();
        if turn.is_none() {
            *turn = self.place.try_turn(key);
        }
        turn.is_some()
    }

    fn take(&self, request: &Request) -> Result<bool, DbErr> {
        let lock = self.place.try_lock(&request.key, request.mode)?;
        let taken = lock.map(|lock| self.locks().insert(request.key.clone(), lock));
        Ok(taken.is_some())
    }

    fn try_take(&self, request: &Request) -> Result<bool, DbErr> {
        Ok(!self.place.is_awaited(&request.key) && self.take(request)?)
    }

    /// Whether it was there until now.
    fn give_back(&self, key: &PhysicalKey) -> Result<bool, DbErr> {
        let lock = self.locks().remove(key);
        lock.map_or(Ok(false), |lock| lock.is_in_place())
    }
}

fn answer(done: Result<bool, DbErr>) -> Answer {
    done.map_or_else(Answer::Failed, Answer::from)
}

impl InlineSession for Held {
    fn exchange(&self, batch: &Batch) -> Answers {
        let releases = batch.releases.iter();
        let tries = batch.tries.iter();
        Answers {
            releases: releases
                .map(|one| answer(self.give_back(&one.key)))
                .collect(),
            tries: tries.map(|one| answer(self.try_take(one))).collect(),
        }
    }

    fn holds(&self, key: &PhysicalKey) -> bool {
        let locks = self.locks();
        let lock = locks.get(key);
        lock.is_some_and(|lock| lock.is_in_place().unwrap_or(false))
    }

    fn leave(&self) {
        *self.turn() = None;
    }
}

/// Each lock as often as it was seen at once: what moves is missed now and then, and never seen too
/// often.
fn seen_at_once(looks: Vec<Vec<ServerLock>>) -> Vec<ServerLock> {
    let mut most: HashMap<ServerLock, usize> = HashMap::new();
    for locks in looks {
        let mut times: HashMap<ServerLock, usize> = HashMap::new();
        for lock in locks {
            *times.entry(lock).or_default() += 1;
        }
        for (lock, times) in times {
            let most = most.entry(lock).or_default();
            *most = times.max(*most);
        }
    }
    let all = most.into_iter();
    all.flat_map(|(lock, times)| std::iter::repeat_n(lock, times))
        .collect()
}

/// One session.
pub(crate) struct LocalSession(Arc<Held>);

impl LocalSession {
    pub(crate) fn new(place: Arc<dyn Place>) -> Self {
        let (locks, turn) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Held { place, locks, turn }))
    }

    async fn wait_in_turn(&self, request: &Request, slice: Duration) -> Result<bool, DbErr> {
        // A slice of nothing is one, too: the runtime must have its turn.
        let until = Instant::now() + slice.max(FIRST_PAUSE);
        let _turn = Turn(&self.0);
        let mut pause = FIRST_PAUSE;
        loop {
            let got = match self.0.take_turn(&request.key) {
                true => self.0.take(request)?,
                false => self.0.try_take(request)?,
            };
            let now = Instant::now();
            if got || now >= until {
                return Ok(got);
            }
            let next = now + pause.mul_f64(0.5 + 0.5 * fastrand::f64());
            sleep_until(next.min(until)).await;
            pause = LAST_PAUSE.min(2 * pause);
        }
    }
}

/// It ends with the wait, also when that is dropped.
struct Turn<'a>(&'a Held);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[async_trait]
impl Session for LocalSession {
    fn number(&self) -> i64 {
        std::process::id().into()
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn inline(&self) -> Option<Arc<dyn InlineSession>> {
        Some(Arc::<Held>::clone(&self.0))
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        Ok(self.0.exchange(batch))
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError> {
        Ok(answer(self.wait_in_turn(request, slice).await))
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        for (key, lock) in &*self.0.locks() {
            if !lock.is_in_place().map_err(SessionError::Ended)? {
                let lost = format!("lock {key} was taken away from outside");
                return Err(SessionError::Ended(DbErr::Custom(lost)));
            }
        }
        Ok(())
    }

    async fn locks(&mut self, _: &[PhysicalKey]) -> Result<Vec<ServerLock>, SessionError> {
        let mut looks = Vec::new();
        while looks.len() < LOOKS {
            let listing = self.0.place.listing().map_err(SessionError::Statement)?;
            if !listing.has_moved {
                return Ok(listing.locks);
            }
            looks.push(listing.locks);
            yield_now().await;
        }
        Ok(seen_at_once(looks))
    }

    async fn gone(&mut self) -> SessionError {
        std::future::pending().await
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.0.locks().clear();
    }
}
