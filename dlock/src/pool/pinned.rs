//! Pinned locks: each has a session of its own, on which its holder works, and a task that owns it.
//!
//! The server alone decides between them and the locks of the queues: they are different sessions to it.

mod beside;
mod book;
mod hold;
mod task;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::DatabaseConnection;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

pub(super) use self::task::{Task, run};
use super::LockPool;
use super::core::{Core, MAX_RUNTIMES};
use super::queue::{Link, Refusal};
use super::state::State;
use crate::error::{Error, LossCause};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// Where the answer to a release goes.
type Confirm = oneshot::Sender<Result<(), Error>>;

/// A pinned lock that is held; gives it back when it is dropped. It owns no session: its task does.
#[derive(Debug)]
pub(crate) struct PinnedGrant {
    key: PhysicalKey,
    link: Arc<Link>,
    connection: DatabaseConnection,
    /// Dropped unused, it releases as well.
    done: oneshot::Sender<Confirm>,
}

impl PinnedGrant {
    pub(crate) fn key(&self) -> &PhysicalKey {
        &self.key
    }

    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.link.is_lost()
    }

    pub(crate) async fn lost(&self) {
        self.link.lost().await;
    }

    /// The release is on its way before the first await.
    pub(crate) async fn release(self, name: &Key) -> Result<(), Error> {
        let Self { link, done, .. } = self;
        let (confirm, confirmed) = oneshot::channel();
        // A task that is gone has given the news by its end.
        let is_gone = done.send(confirm).is_err();
        let cause = link.loss_cause();
        // Whoever waits for the guards to go must not wait for this one.
        drop(link);
        let lost = |cause| Err(Error::lost(name, cause));
        match confirmed.await {
            Ok(released) => released,
            Err(_task_gone) if is_gone => lost(cause),
            // The task was dropped with the release on its way.
            Err(_task_gone) => lost(LossCause::Session),
        }
    }
}

/// What the task of a pinned lock is to do.
pub(super) struct Order {
    /// For locks that the holder asks for on its connection.
    pool: LockPool,
    pub(super) name: Key,
    mode: Mode,
    wait: Wait,
    reply: oneshot::Sender<Result<PinnedGrant, Refusal>>,
    /// From before the order was let in.
    refusals: watch::Receiver<Option<Error>>,
    /// Its place among the pinned sessions, until the task ends.
    _turn: OwnedSemaphorePermit,
}

/// Waits for a session, then for the lock. `None`: one try was asked for, and somebody else has the lock, or the sessions.
pub(super) async fn acquire(
    pool: &LockPool,
    name: &Key,
    mode: Mode,
    wait: Wait,
) -> Result<Option<PinnedGrant>, Error> {
    let core = &pool.owner()?.core;
    core.backend.rules().check(mode)?;
    // As far as the server is known: what can never work needs no session.
    core.try_physical_key(name)?;
    let waiting = Waiting::begin(core);
    let mut asking = pin!(ask(pool, &waiting, name, mode, wait));
    match wait.bound(&mut asking).await {
        Ok(answer) => answer,
        // The request is dropped later, and its task with it.
        Err(_elapsed) => {
            core.with(|state, _| state.counters.timeouts += 1);
            let session = waiting.session.load(Ordering::Relaxed);
            let awaits_session = |state: &State| state.is_opening_pinned(session);
            Err(core.timed_out(name, mode, wait, awaits_session))
        }
    }
}

async fn ask(
    pool: &LockPool,
    waiting: &Waiting,
    name: &Key,
    mode: Mode,
    wait: Wait,
) -> Result<Option<PinnedGrant>, Error> {
    let core = &waiting.core;
    for _ in 0..MAX_RUNTIMES {
        let Some(turn) = turn(core, wait).await? else {
            return Ok(None);
        };
        let (reply, answer) = oneshot::channel();
        let session = core.start_pinned(Order {
            pool: pool.clone(),
            name: name.clone(),
            mode,
            wait,
            reply,
            refusals: core.refusals.subscribe(),
            _turn: turn,
        })?;
        waiting.session.store(session, Ordering::Relaxed);
        match answer.await {
            Ok(Ok(grant)) => return Ok(Some(grant)),
            Ok(Err(refusal)) => return refusal.tell(name),
            // The pool's runtime has ended: the next turn starts it on ours.
            Err(_task_gone) => {}
        }
    }
    Err(Error::NoRuntime)
}

/// The turn to have a session; `None` when one try has to wait for it.
async fn turn(core: &Core, wait: Wait) -> Result<Option<OwnedSemaphorePermit>, Error> {
    let mut closing = core.closing.subscribe();
    if *closing.borrow() {
        return Err(Error::PoolClosed);
    }
    let turns = Arc::clone(&core.pinned_sessions);
    if wait.one_try {
        return Ok(turns.try_acquire_owned().ok());
    }
    tokio::select! {
        turn = turns.acquire_owned() => Ok(Some(turn.expect("BUG: nobody closes it"))),
        _ = closing.wait_for(|closing| *closing) => Err(Error::PoolClosed),
    }
}

/// A caller that waits.
struct Waiting {
    core: Arc<Core>,
    /// The session that is opened for it; 0 before.
    session: AtomicU64,
}

impl Waiting {
    fn begin(core: &Arc<Core>) -> Self {
        core.with(|state, _| state.pinned_waiters += 1);
        let core = Arc::clone(core);
        let session = AtomicU64::new(0);
        Self { core, session }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.core.with(|state, _| state.pinned_waiters -= 1);
    }
}
