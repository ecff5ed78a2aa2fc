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

use super::place::Place;
use crate::backend::batch::Request;
use crate::backend::session::{Hold, InlineSession};
use crate::key::PhysicalKey;
use crate::server_lock::ServerLock;

/// A waiter retries after this long. Each pause is twice the last one, up to the longest, less a
/// random part.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// When something moves while the locks are listed, so many looks make a listing.
const LOOKS: usize = 5;

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

/// One session. Each lock that it has taken is a handle of its own.
pub(crate) struct LocalSession {
    place: Arc<dyn Place>,
    /// It waits for one lock at most.
    turn: Mutex<Option<Box<dyn Hold>>>,
}

impl fmt::Debug for LocalSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalSession").field(&self.place).finish()
    }
}

impl LocalSession {
    pub(crate) fn new(place: Arc<dyn Place>) -> Self {
        let turn = Mutex::default();
        Self { place, turn }
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
}

/// The turn ends with the wait, also when that is dropped.
struct Turn<'a>(&'a LocalSession);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[async_trait]
impl InlineSession for LocalSession {
    fn number(&self) -> i64 {
        std::process::id().into()
    }

    fn try_lock(&self, request: &Request) -> Result<Option<Box<dyn Hold>>, DbErr> {
        match self.place.is_awaited(&request.key) {
            true => Ok(None),
            false => self.place.try_lock(&request.key, request.mode),
        }
    }

    async fn wait(
        &self,
        request: &Request,
        slice: Duration,
    ) -> Result<Option<Box<dyn Hold>>, DbErr> {
        // The runtime runs other tasks even during a slice of zero.
        let until = Instant::now() + slice.max(FIRST_PAUSE);
        let _turn = Turn(self);
        let mut pause = FIRST_PAUSE;
        loop {
            let lock = match self.take_turn(&request.key) {
                true => self.place.try_lock(&request.key, request.mode)?,
                false => self.try_lock(request)?,
            };
            let now = Instant::now();
            if lock.is_some() || now >= until {
                return Ok(lock);
            }
            let next = now + pause.mul_f64(0.5 + 0.5 * fastrand::f64());
            sleep_until(next.min(until)).await;
            pause = LAST_PAUSE.min(2 * pause);
        }
    }

    fn leave(&self) {
        *self.turn() = None;
    }

    async fn locks(&self) -> Result<Vec<ServerLock>, DbErr> {
        let mut looks = Vec::new();
        while looks.len() < LOOKS {
            let listing = self.place.listing()?;
            if !listing.has_moved {
                return Ok(listing.locks);
            }
            looks.push(listing.locks);
            yield_now().await;
        }
        Ok(seen_at_once(looks))
    }
}
