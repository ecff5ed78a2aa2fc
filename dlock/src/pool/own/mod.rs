//! Locks with a session of their own, and a task that owns it: pinned locks, on whose session their
//! holder works, and locks that can be upgraded.
//!
//! The server alone decides between them and the locks of the shared sessions.

mod guard_side;
mod hold;
mod reply;
mod session;
mod sidecar;
mod task;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::LockPool;
use super::core::{Core, MAX_RUNTIMES};
use crate::backend::Backend;
use crate::engine::{Loss, Refusal, Refusals, warned};
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// What such a lock is for.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    /// Its mode can become a stronger one.
    Upgrade,
    /// Its holder works on the session. Locks that it asks for there are this pool's.
    Pin(LockPool),
}

/// Where the answer to a release goes.
type Confirm = oneshot::Sender<Result<(), Error>>;

/// What a guard wants of its session's task. A guard that is gone wants its release.
enum Wish {
    Release(Confirm),
    Upgrade(Upgrade),
}

/// A lock that is to become stronger.
struct Upgrade {
    to: Mode,
    wait: Wait,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

/// A lock that is held on a session of its own; gives it back when it is dropped. Its task owns the
/// session.
#[derive(Debug)]
pub(crate) struct OwnGrant {
    core: Arc<Core>,
    key: PhysicalKey,
    session: i64,
    loss: Arc<Loss>,
    wishes: mpsc::UnboundedSender<Wish>,
    /// Dropped with the guard.
    presence: watch::Receiver<()>,
    /// Of a pinned lock.
    connection: Option<DatabaseConnection>,
}

impl OwnGrant {
    pub(super) fn backend(&self) -> &Arc<dyn Backend> {
        self.core.backend()
    }

    pub(super) fn key(&self) -> &PhysicalKey {
        &self.key
    }

    /// The server's number for the session that holds the lock.
    pub(super) fn session(&self) -> i64 {
        self.session
    }

    pub(super) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// The release is on its way before the first await.
    pub(super) async fn release(self, name: &Key) -> Result<(), Error> {
        let (confirm, confirmed) = oneshot::channel();
        // A task that has ended drops the wish, after it has flagged the loss.
        drop(self.wishes.send(Wish::Release(confirm)));
        // The task may wait for the guard to be gone.
        drop(self.presence);
        let lost = |_task_ended| Err(Error::lost(name, self.loss.cause()));
        confirmed.await.unwrap_or_else(lost)
    }

    /// Dropping the future gives the upgrade up; one that was sent to the server may be granted all
    /// the same.
    pub(super) async fn upgrade(
        &self,
        name: &Key,
        to: Mode,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let core = &self.core;
        let wait = core.wait(timeout, false);
        let (reply, answer) = oneshot::channel();
        let upgrade = Upgrade { to, wait, reply };
        let lost = || Error::lost(name, self.loss.cause());
        let sent = self.wishes.send(Wish::Upgrade(upgrade));
        sent.map_err(|_task_ended| lost())?;
        let answer = pin!(wait.bound(answer));
        let refused = match warned(answer, name, wait, || None).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(Refusal::Busy))) | Err(_) => None,
            Ok(Ok(Err(refusal))) => refusal.tell::<()>(name).err(),
            Ok(Err(_task_ended)) => Some(lost()),
        };
        Err(refused.unwrap_or_else(|| {
            core.engine.count(|counters| counters.timeouts += 1);
            Error::Timeout {
                key: name.clone(),
                waited: wait.since.elapsed(),
                held_by: None,
            }
        }))
    }
}

/// A pinned lock that is held.
#[derive(Debug)]
pub(crate) struct PinnedGrant {
    own: OwnGrant,
    connection: DatabaseConnection,
}

impl PinnedGrant {
    pub(crate) fn key(&self) -> &PhysicalKey {
        self.own.key()
    }

    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    pub(crate) fn session(&self) -> i64 {
        self.own.session()
    }

    pub(crate) fn loss(&self) -> &Loss {
        self.own.loss()
    }

    /// The release is on its way before the first await.
    pub(crate) async fn release(self, name: &Key) -> Result<(), Error> {
        self.own.release(name).await
    }
}

/// What the task of such a lock is to do.
struct Order {
    core: Arc<Core>,
    purpose: Purpose,
    name: Key,
    mode: Mode,
    wait: Wait,
    reply: oneshot::Sender<Result<OwnGrant, Refusal>>,
    /// Whether a session is open for it.
    is_open: Arc<AtomicBool>,
    /// From before the order was let in.
    refusals: Refusals,
    /// Its place among the sessions of one lock, until the task ends.
    _permit: OwnedSemaphorePermit,
}

/// Waits for a session of its own, then for the lock. `None`: one try was asked for, and another
/// holder has the lock, or the sessions.
pub(super) async fn pin(
    pool: &LockPool,
    name: &Key,
    mode: Mode,
    wait: Wait,
) -> Result<Option<PinnedGrant>, Error> {
    let core = &pool.owner()?.core;
    core.backend().rules().check(mode)?;
    // As far as the server is known: what can never work needs no session.
    core.try_physical_key(name)?;
    let is_open = Arc::default();
    let purpose = Purpose::Pin(pool.clone());
    let asking = ask(
        Arc::clone(core),
        purpose,
        name.clone(),
        mode,
        wait,
        Arc::clone(&is_open),
    );
    match wait.bound(asking).await {
        Ok(Ok(Some(mut own))) => {
            let connection = own.connection.take();
            let connection = connection.expect("BUG: a pinned lock has a connection");
            Ok(Some(PinnedGrant { own, connection }))
        }
        Ok(Ok(None)) => Ok(None),
        Ok(Err(error)) => Err(error),
        // The request was dropped, and its task follows.
        Err(_elapsed) => {
            core.engine.count(|counters| counters.timeouts += 1);
            let awaits_session = !is_open.load(Ordering::Relaxed);
            Err(core.timed_out(name, mode, wait, awaits_session))
        }
    }
}

/// Waits for a session of its own, then for the lock, without a deadline.
pub(super) async fn ask(
    core: Arc<Core>,
    purpose: Purpose,
    name: Key,
    mode: Mode,
    wait: Wait,
    is_open: Arc<AtomicBool>,
) -> Result<Option<OwnGrant>, Error> {
    let _waiter = core.engine.own_waiter();
    for _ in 0..MAX_RUNTIMES {
        let Some(permit) = permit(&core, wait).await? else {
            return Ok(None);
        };
        let (reply, answer) = oneshot::channel();
        let order = Order {
            core: Arc::clone(&core),
            purpose: purpose.clone(),
            name: name.clone(),
            mode,
            wait,
            reply,
            is_open: Arc::clone(&is_open),
            refusals: core.engine.signals().refusals(),
            _permit: permit,
        };
        core.engine
            .start_own(name.clone(), |own| task::run(own, order))?;
        match answer.await {
            Ok(Ok(grant)) => return Ok(Some(grant)),
            Ok(Err(refusal)) => return refusal.tell(&name),
            // The pool's runtime has ended: the next turn starts the task on ours.
            Err(_task_gone) => {}
        }
    }
    Err(Error::NoRuntime)
}

/// A place among the sessions of one lock; `None` when one try would have to wait for it.
async fn permit(core: &Core, wait: Wait) -> Result<Option<OwnedSemaphorePermit>, Error> {
    let signals = core.engine.signals();
    if signals.is_closing() {
        return Err(Error::PoolClosed);
    }
    let permits = Arc::clone(&core.own_sessions);
    if wait.one_try {
        return Ok(permits.try_acquire_owned().ok());
    }
    tokio::select! {
        permit = permits.acquire_owned() => Ok(permit.ok()),
        () = signals.closing() => Err(Error::PoolClosed),
    }
}
