//! Pinned locks: each has a session of its own, on which its holder works, and a task that owns it.
//!
//! The server alone decides between them and the locks of the queues: they are different sessions to it.

mod beside;
mod book;
mod hold;
mod task;

use std::sync::Arc;

use sea_orm::DatabaseConnection;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

pub(super) use self::task::{Task, run};
use super::LockPool;
use super::core::{Core, MAX_RUNTIMES};
use super::queue::{Link, Refusal};
use crate::error::Error;
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

    pub(crate) fn session(&self) -> u64 {
        self.link.session
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.link.is_lost()
    }

    pub(crate) async fn lost(&self) {
        self.link.lost().await;
    }

    /// The release is on its way before the first await. `None`: the lock was lost before.
    pub(crate) async fn release(self) -> Option<Result<(), Error>> {
        let Self { link, done, .. } = self;
        let (confirm, confirmed) = oneshot::channel();
        // A task that is gone has given the news by its end.
        drop(done.send(confirm));
        // Whoever waits for the guards to go must not wait for this one.
        drop(link);
        confirmed.await.ok()
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
    core.connector.dialect().check(mode)?;
    // As far as the server is known: what can never work needs no session.
    core.try_physical_key(name)?;
    let _waiting = Waiting::begin(core);
    match wait.bound(ask(pool, core, name, mode, wait)).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            core.with(|state, _| state.counters.timeouts += 1);
            Err(Error::Timeout {
                key: name.clone(),
                waited: wait.since.elapsed(),
            })
        }
    }
}

async fn ask(
    pool: &LockPool,
    core: &Arc<Core>,
    name: &Key,
    mode: Mode,
    wait: Wait,
) -> Result<Option<PinnedGrant>, Error> {
    for _ in 0..MAX_RUNTIMES {
        let Some(turn) = turn(core, wait).await? else {
            return Ok(None);
        };
        let (reply, answer) = oneshot::channel();
        core.start_pinned(Order {
            pool: pool.clone(),
            name: name.clone(),
            mode,
            wait,
            reply,
            refusals: core.refusals.subscribe(),
            _turn: turn,
        })?;
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
struct Waiting(Arc<Core>);

impl Waiting {
    fn begin(core: &Arc<Core>) -> Self {
        core.with(|state, _| state.pinned_waiters += 1);
        Self(Arc::clone(core))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.with(|state, _| state.pinned_waiters -= 1);
    }
}
