//! The task that owns the session of a pinned lock. The first part: opens the session, and waits for the lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::hold::hold;
use super::{Confirm, Order, beside};
use crate::backend::{Answer, Batch, PinnedBase, PinnedSession, Request, Session, SessionError};
use crate::error::{Error, Phase};
use crate::pool::core::{Core, tell_of_runtime};
use crate::pool::jobs::next_slice;
use crate::pool::loss::MAX_STILLBORN;
use crate::pool::queue::{Refusal, SessionId};
use crate::pool::state::State;
use crate::pool::worker::{cause, within};

/// Notices when the task is dropped before its end: the runtime ends, or a bug made it panic.
pub(in crate::pool) struct Task {
    pub(super) core: Arc<Core>,
    pub(super) id: SessionId,
    epoch: u64,
    finished: bool,
}

impl Task {
    pub(in crate::pool) fn new(core: Arc<Core>, id: SessionId, epoch: u64) -> Self {
        Self {
            core,
            id,
            epoch,
            finished: false,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Self {
            id,
            epoch,
            finished,
            ..
        } = *self;
        let lost = self
            .core
            .with(|state, _| state.end_pinned(id, epoch, finished));
        tell_of_runtime(lost);
        self.core.task_ended.notify_waiters();
    }
}

/// What is said to the caller when everything is as it hears: its session ended, and the turn the next one's.
pub(super) type LastWord = Box<dyn FnOnce() + Send>;

pub(in crate::pool) async fn run(mut task: Task, order: Order) {
    let last_word = serve(&task, order).await;
    task.finished = true;
    drop(task);
    if let Some(say) = last_word {
        say();
    }
}

pub(super) fn refuse(order: Order, refusal: Refusal) -> LastWord {
    let Order { reply, .. } = order;
    // Whoever asked may be gone.
    Box::new(move || drop(reply.send(Err(refusal))))
}

pub(super) fn confirm(confirm: Option<Confirm>, released: Result<(), Error>) -> Option<LastWord> {
    let confirm = confirm?;
    Some(Box::new(move || drop(confirm.send(released))))
}

/// How the first part of a pinned lock's life ended.
enum Asked {
    Granted,
    Refused(Refusal),
    /// Nobody waits for it any more.
    Unwanted,
}

async fn serve(task: &Task, mut order: Order) -> Option<LastWord> {
    let mut stillborn = 0;
    loop {
        let pinned = match open(task, &mut order).await {
            Ok(Some(PinnedBase::Session(pinned))) => pinned,
            Ok(Some(PinnedBase::Sidecar {
                connection,
                is_private,
            })) => return beside::serve(task, order, connection, is_private).await,
            Ok(None) => return None,
            Err(error) => return Some(refuse(order, Refusal::Failed(error))),
        };
        match on_session(task, pinned, order, &mut stillborn).await {
            Served::Over(last_word) => return last_word,
            Served::Again(again) => order = again,
        }
    }
}

/// How a session was of use.
enum Served {
    Over(Option<LastWord>),
    /// It died before it got the lock.
    Again(Order),
}

/// `None`: nobody waits for it any more.
async fn open(task: &Task, order: &mut Order) -> Result<Option<PinnedBase>, Error> {
    let Task { core, id, .. } = task;
    let mut closing = core.closing.subscribe();
    let opened = tokio::select! {
        biased;
        () = order.reply.closed() => return Ok(None),
        () = turned_true(&mut closing) => return Err(Error::PoolClosed),
        error = refused(&mut order.refusals) => return Err(error),
        opened = core.backend.open_pinned() => opened.map_err(|error| error.of(Phase::Connect)),
    };
    match &opened {
        Ok(_) => {
            core.with(|state, _| state.pinned_opened(*id));
        }
        Err(error) => {
            core.with(|state, _| state.counters.sessions_refused += 1);
            core.settle_dispute();
            tracing::warn!(%error, cause = cause(error), "dlock: session refused");
        }
    }
    opened.map(Some)
}

/// The life of one session.
async fn on_session(
    task: &Task,
    mut pinned: Box<dyn PinnedSession>,
    mut order: Order,
    stillborn: &mut u32,
) -> Served {
    let Task { core, id, .. } = task;
    let number = pinned.number();
    tracing::debug!(session = number, "dlock: session opened");
    let asked = match core.try_physical_key(&order.name) {
        Ok(key) => {
            let request = Request {
                key: key.expect("BUG: the server is known by its first session"),
                mode: order.mode,
            };
            match ask(core, &mut *pinned, &request, &mut order, stillborn).await {
                Ok(Asked::Granted) => {
                    return Served::Over(hold(task, pinned, request, order).await);
                }
                asked => asked,
            }
        }
        Err(error) => Ok(Asked::Refused(Refusal::Failed(error))),
    };
    let refusal = match asked {
        Ok(Asked::Refused(refusal)) => Some(refusal),
        Ok(Asked::Granted | Asked::Unwanted) => None,
        Err(SessionError::Refused(error)) => {
            core.refuse(*id, number, &error);
            core.with(|state, _| state.pinned_died(*id));
            Some(Refusal::Failed(error))
        }
        Err(error) => {
            tracing::warn!(session = number, %error, "dlock: session lost");
            core.with(|state, _| state.pinned_died(*id));
            *stillborn += 1;
            if *stillborn < MAX_STILLBORN {
                return Served::Again(order);
            }
            Some(Refusal::Failed(error.of(Phase::Acquire)))
        }
    };
    pinned.close().await;
    tracing::debug!(session = number, "dlock: session closed");
    Served::Over(refusal.map(|refusal| refuse(order, refusal)))
}

/// Asks for the lock until there is an answer. An error is the end of the session.
async fn ask(
    core: &Arc<Core>,
    pinned: &mut dyn PinnedSession,
    request: &Request,
    order: &mut Order,
    stillborn: &mut u32,
) -> Result<Asked, SessionError> {
    let Order {
        wait,
        reply,
        refusals,
        ..
    } = order;
    let limit = core.config.reply_timeout();
    let mut closing = core.closing.subscribe();
    let refuse = |error| Ok(Asked::Refused(Refusal::Failed(error)));
    let closed = || refuse(Error::PoolClosed);
    let session = pinned.take()?.expect("BUG: nobody else knows it yet");
    let mut answer = try_once(session, request, limit).await?;
    let mut slices = 0;
    loop {
        *stillborn = 0;
        match answer {
            Answer::Yes => return Ok(Asked::Granted),
            Answer::Deadlock => return Ok(Asked::Refused(Refusal::Deadlock)),
            Answer::Failed(error) => {
                let error = Phase::Acquire.failed(error);
                return Ok(Asked::Refused(Refusal::Failed(error)));
            }
            Answer::No if slices == 0 => core.with(|state, _| state.counters.contended += 1),
            Answer::No => {}
        }
        if wait.one_try {
            return Ok(Asked::Refused(Refusal::Busy));
        }
        if reply.is_closed() {
            return Ok(Asked::Unwanted);
        }
        answer = match next_slice(slices, wait.remaining()) {
            // One that is given up ends with its session, so that its turn is the next one's.
            Some(slice) if session.capabilities().waits => tokio::select! {
                answer = within(slice.saturating_add(limit), session.wait(request, slice)) => answer?,
                () = reply.closed() => return Ok(Asked::Unwanted),
                () = turned_true(&mut closing) => return closed(),
                error = refused(refusals) => return refuse(error),
            },
            Some(slice) => {
                tokio::select! {
                    () = sleep(State::backoff(slices).min(slice)) => {}
                    () = reply.closed() => return Ok(Asked::Unwanted),
                    () = turned_true(&mut closing) => return closed(),
                    error = refused(refusals) => return refuse(error),
                }
                try_once(session, request, limit).await?
            }
            // The caller is about to give up.
            None => tokio::select! {
                () = reply.closed() => return Ok(Asked::Unwanted),
                () = turned_true(&mut closing) => return closed(),
                error = refused(refusals) => return refuse(error),
            },
        };
        slices = slices.saturating_add(1);
    }
}

async fn try_once(
    session: &mut dyn Session,
    request: &Request,
    limit: Duration,
) -> Result<Answer, SessionError> {
    let batch = Batch::of_one_try(request);
    let mut answers = within(limit, session.exchange(&batch)).await?;
    Ok(answers.tries.pop().expect("BUG: one try, one answer"))
}

/// Resolves when the pool is refused. Its sender lives as long as the pool.
pub(super) async fn refused(refusals: &mut watch::Receiver<Option<Error>>) -> Error {
    match refusals.changed().await {
        Ok(()) => refusals
            .borrow_and_update()
            .clone()
            .unwrap_or(Error::PoolClosed),
        Err(_pool_gone) => std::future::pending().await,
    }
}

/// Its sender lives as long as the pool.
pub(super) async fn turned_true(flag: &mut watch::Receiver<bool>) {
    drop(flag.wait_for(|flag| *flag).await);
}
