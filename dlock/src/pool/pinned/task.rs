//! The task that owns the session of a pinned lock: opens it, waits for the lock, looks after it while its holder works, gives it back.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Confirm, Order, PinnedGrant, beside};
use crate::error::{Error, Phase};
use crate::key::Key;
use crate::pool::core::Core;
use crate::pool::jobs::next_slice;
use crate::pool::loss::MAX_STILLBORN;
use crate::pool::queue::{Link, Refusal, SessionId};
use crate::pool::registry::Guest;
use crate::pool::sessions::Inspect;
use crate::pool::state::State;
use crate::pool::worker::{FAREWELL, cause, within};
use crate::session::{Answer, Batch, Pin, Pinned, Request, Session};

/// How often the session is looked at.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a release waits for the holder's last statement or rollback; what lasts longer is not meant to end.
pub(super) const GRACE: Duration = Duration::from_millis(500);

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
        self.core
            .with(|state, _| state.end_pinned(id, epoch, finished));
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
            Ok(Some(Pin::Session(pinned))) => pinned,
            Ok(Some(Pin::Beside {
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
async fn open(task: &Task, order: &mut Order) -> Result<Option<Pin>, Error> {
    let Task { core, id, .. } = task;
    let mut closing = core.closing.subscribe();
    let opened = tokio::select! {
        biased;
        () = order.reply.closed() => return Ok(None),
        () = turned_true(&mut closing) => return Err(Error::PoolClosed),
        opened = core.connector.pin() => opened,
    };
    match &opened {
        Ok(_) => {
            core.with(|state, _| state.pinned_opened(*id));
            tracing::debug!(session = id, "dlock: session opened");
        }
        Err(error) => {
            core.with(|state, _| state.counters.sessions_refused += 1);
            tracing::warn!(session = id, %error, cause = cause(error), "dlock: session refused");
        }
    }
    opened.map(Some)
}

/// The life of one session.
async fn on_session(
    task: &Task,
    mut pinned: Box<dyn Pinned>,
    mut order: Order,
    stillborn: &mut u32,
) -> Served {
    let Task { core, id, .. } = task;
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
        Err(error) => {
            tracing::warn!(session = id, %error, "dlock: session lost");
            core.with(|state, _| state.pinned_died(*id));
            *stillborn += 1;
            if *stillborn < MAX_STILLBORN {
                return Served::Again(order);
            }
            Some(Refusal::Failed(Phase::Acquire.failed(error)))
        }
    };
    pinned.close().await;
    tracing::debug!(session = id, "dlock: session closed");
    Served::Over(refusal.map(|refusal| refuse(order, refusal)))
}

/// Asks for the lock until there is an answer. An error is the end of the session.
async fn ask(
    core: &Arc<Core>,
    pinned: &mut dyn Pinned,
    request: &Request,
    order: &mut Order,
    stillborn: &mut u32,
) -> Result<Asked, DbErr> {
    let Order { wait, reply, .. } = order;
    let limit = core.config.reply_timeout();
    let mut closing = core.closing.subscribe();
    let closed = || Ok(Asked::Refused(Refusal::Failed(Error::PoolClosed)));
    let session = pinned.take()?.expect("BUG: nobody else knows it yet");
    let mut answer = try_once(session, request, limit).await?;
    let mut slices = 0;
    loop {
        *stillborn = 0;
        match answer {
            Answer::Yes => return Ok(Asked::Granted),
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
            Some(slice) if session.can_wait() => tokio::select! {
                answer = within(slice.saturating_add(limit), session.wait(request, slice)) => answer?,
                () = turned_true(&mut closing) => return closed(),
            },
            Some(slice) => {
                tokio::select! {
                    () = sleep(State::backoff(slices).min(slice)) => {}
                    () = turned_true(&mut closing) => return closed(),
                }
                try_once(session, request, limit).await?
            }
            // The caller is about to give up.
            None => tokio::select! {
                () = reply.closed() => return Ok(Asked::Unwanted),
                () = turned_true(&mut closing) => return closed(),
            },
        };
        slices = slices.saturating_add(1);
    }
}

async fn try_once(
    session: &mut dyn Session,
    request: &Request,
    limit: Duration,
) -> Result<Answer, DbErr> {
    let batch = Batch::of_one_try(request);
    let mut answers = within(limit, session.exchange(&batch)).await?;
    Ok(answers.tries.pop().expect("BUG: one try, one answer"))
}

/// How a pinned lock ends.
enum End {
    /// The guard is done, and may wait to hear of it.
    Released(Option<Confirm>),
    /// `lost` has been said to the guards that are left.
    Abandoned,
    Lost(DbErr),
}

/// When the runtime ends, `lost` is dropped before the session: the guard hears of its loss before the lock is free.
async fn hold(
    task: &Task,
    mut pinned: Box<dyn Pinned>,
    request: Request,
    order: Order,
) -> Option<LastWord> {
    let Task { core, id, .. } = task;
    let Order {
        pool, name, reply, ..
    } = order;
    let connection = pinned.connection();
    let guest = Guest::new(connection.clone(), pool);
    let (lost, link) = Link::new(*id);
    let (done, mut is_done) = oneshot::channel();
    let grant = PinnedGrant {
        key: request.key.clone(),
        link,
        connection,
        done,
    };
    core.with(|state, _| state.pinned_granted(*id, request.key.clone(), !reply.is_closed()));
    pinned.lend();
    // A caller that is gone drops the grant, which is a release.
    drop(reply.send(Ok(grant)));
    let last_word = match look_after(core, &mut *pinned, &request, &mut is_done).await {
        End::Released(answer) => {
            let released = give_back(core, &mut *pinned, &request, &name).await;
            if let Err(error) = &released {
                tracing::warn!(session = id, key = %name, %error, "dlock: release failed");
            }
            confirm(answer, released)
        }
        End::Abandoned => {
            core.with(|state, _| state.counters.lost += 1);
            lost.send_replace(true);
            drop(timeout(FAREWELL, lost.closed()).await);
            drop(give_back(core, &mut *pinned, &request, &name).await);
            None
        }
        End::Lost(error) => {
            core.with(|state, _| {
                state.counters.lost += 1;
                state.pinned_died(*id);
            });
            lost.send_replace(true);
            tracing::warn!(session = id, %error, "dlock: session lost");
            tracing::warn!(session = id, key = %name, "dlock: lock lost");
            None
        }
    };
    drop(guest);
    pinned.close().await;
    tracing::debug!(session = id, "dlock: session closed");
    last_word
}

/// Until the guard is done, or the lock lost. While its holder is at work on the session, which then tells nothing, another session is asked about it.
async fn look_after(
    core: &Arc<Core>,
    pinned: &mut dyn Pinned,
    request: &Request,
    is_done: &mut oneshot::Receiver<Confirm>,
) -> End {
    let mut abandoned = core.abandoned.subscribe();
    let mut proven = Instant::now();
    loop {
        tokio::select! {
            biased;
            confirm = &mut *is_done => return End::Released(confirm.ok()),
            () = turned_true(&mut abandoned) => return End::Abandoned,
            () = sleep(HEARTBEAT) => {}
        }
        let held = match pinned.take() {
            Ok(Some(session)) => {
                let alive = within(core.config.reply_timeout(), session.ping()).await;
                pinned.lend();
                alive.map(|()| true)
            }
            Ok(None) => {
                let (answer, seen) = oneshot::channel();
                let question = Inspect::Holder(request.clone(), pinned.number(), answer);
                core.with(|state, now| state.inspect(question, now));
                tokio::select! {
                    biased;
                    confirm = &mut *is_done => return End::Released(confirm.ok()),
                    () = turned_true(&mut abandoned) => return End::Abandoned,
                    seen = seen => match seen.unwrap_or(Err(Error::PoolClosed)) {
                        Ok(seen) => Ok(seen),
                        // Nobody can be reached, perhaps.
                        Err(Error::Database { source: error @ DbErr::Conn(_), .. })
                            if proven.elapsed() >= core.config.keepalive => Err(error),
                        Err(_) => continue,
                    }
                }
            }
            Err(error) => Err(error),
        };
        match held {
            Ok(true) => proven = Instant::now(),
            Ok(false) => {
                return End::Lost(gone("the server does not see it hold its lock any more"));
            }
            Err(error) => return End::Lost(error),
        }
    }
}

/// Its sender lives as long as the pool.
async fn turned_true(flag: &mut watch::Receiver<bool>) {
    drop(flag.wait_for(|flag| *flag).await);
}

fn gone(why: &str) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(why.to_owned()))
}

/// The lock is free afterwards, or the error says why it is not.
async fn give_back(
    core: &Core,
    pinned: &mut dyn Pinned,
    request: &Request,
    name: &Key,
) -> Result<(), Error> {
    let lost = || Error::Lost { key: name.clone() };
    let number = pinned.number();
    let Ok(taken) = timeout(GRACE, pinned.taken()).await else {
        tracing::warn!(key = %name, "dlock: a pinned lock is released while a transaction or statement is at work on its session, which is ended");
        return end_from_outside(core, request, number).await;
    };
    let batch = Batch::of_releases(vec![request.clone()]);
    let session = taken.map_err(|_closed| lost())?;
    let released = within(core.config.reply_timeout(), session.exchange(&batch)).await;
    let mut answers = released.map_err(|_died| lost())?;
    match answers.releases.pop() {
        Some(Answer::Yes) => Ok(()),
        Some(Answer::Failed(error)) => Err(Phase::Release.failed(error)),
        Some(Answer::No) | None => Err(lost()),
    }
}

/// Ends the session whose holder does not leave it, as an operator would.
async fn end_from_outside(core: &Core, request: &Request, number: i64) -> Result<(), Error> {
    let limit = core.config.reply_timeout();
    let mut other = core.connector.connect().await?;
    let ending = async {
        other.end(request, number).await?;
        while other.sees(request, number).await? {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    let ended = within(limit, ending).await;
    other.close().await;
    ended.map_err(|error| Phase::Release.failed(error))
}
