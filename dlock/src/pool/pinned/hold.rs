//! The second part of a pinned lock's life: its holder works on the session, which is looked after meanwhile and ended in the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::task::{LastWord, Task, confirm, refused, turned_true};
use super::{Confirm, Order, PinnedGrant};
use crate::backend::{Answer, Batch, PinnedSession, Request, SessionError};
use crate::error::{Error, LossCause, Phase};
use crate::key::Key;
use crate::pool::core::Core;
use crate::pool::queue::{Link, Loss};
use crate::pool::registry::Guest;
use crate::pool::sessions::{Holder, Inspect};
use crate::pool::worker::{FAREWELL, within};

/// How often the session is looked at.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a release waits for the holder's last statement or rollback; what lasts longer is not meant to end.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// How often is looked whether a session has ended.
const UNTIL_ENDED: Duration = Duration::from_millis(5);

/// Tells the guard how its lock was lost, also when the task is dropped with its runtime.
pub(super) struct UntilRuntimeEnds(pub(super) watch::Sender<Loss>);

impl Drop for UntilRuntimeEnds {
    fn drop(&mut self) {
        // Keeps a cause that was set before.
        self.0.send_if_modified(|loss| {
            let is_news = loss.is_none();
            loss.get_or_insert(LossCause::Runtime);
            is_news
        });
    }
}

/// How a pinned lock ends.
enum End {
    /// The guard is done, and may wait to hear of it.
    Released(Option<Confirm>),
    /// `lost` has been said to the guards that are left.
    Abandoned,
    Lost(SessionError),
}

/// When the runtime ends, `lost` is dropped before the session: the guard hears of its loss before the lock is free.
pub(super) async fn hold(
    task: &Task,
    mut pinned: Box<dyn PinnedSession>,
    request: Request,
    order: Order,
) -> Option<LastWord> {
    let Task { core, id, .. } = task;
    let Order {
        pool,
        name,
        reply,
        mut refusals,
        ..
    } = order;
    let connection = pinned.connection();
    let guest = Guest::new(connection.clone(), pool);
    let number = pinned.number();
    // Declared first, so dropped after `lost`: a guard whose channel is closed finds the cause set.
    let (done, mut is_done) = oneshot::channel();
    let (lost, link) = Link::open(number);
    let lost = UntilRuntimeEnds(lost);
    let grant = PinnedGrant {
        key: request.key.clone(),
        link,
        connection,
        done,
    };
    core.with(|state, now| {
        let lock = request.clone();
        state.pinned_granted(*id, lock, !reply.is_closed(), now);
    });
    pinned.lend();
    // A caller that is gone drops the grant, which is a release.
    drop(reply.send(Ok(grant)));
    let holder = Holder {
        lock: request,
        session: number,
        end: false,
    };
    let last_word = match look_after(core, &mut *pinned, &holder, &mut is_done, &mut refusals).await
    {
        End::Released(answer) => {
            let released = give_back(task, &mut *pinned, &holder, &name, GRACE).await;
            if let (Err(error), None) = (&released, &answer) {
                tracing::warn!(session = number, key = %name, %error, "dlock: release failed");
            }
            if let Err(error @ Error::Database { .. }) = released {
                answer.map(|answer| answer.send(Err(error)));
                when_left(task, &mut *pinned, &holder, &name).await;
                None
            } else {
                core.with(|state, _| state.pinned_released(*id));
                confirm(answer, released)
            }
        }
        End::Abandoned => {
            core.with(|state, _| state.counters.lost += 1);
            lost.0.send_replace(Some(LossCause::Session));
            drop(is_done);
            drop(timeout(FAREWELL, lost.0.closed()).await);
            drop(give_back(task, &mut *pinned, &holder, &name, Duration::ZERO).await);
            None
        }
        End::Lost(error) => {
            core.with(|state, _| {
                state.counters.lost += 1;
                state.pinned_died(*id);
            });
            lost.0.send_replace(Some(LossCause::Session));
            drop(is_done);
            match error {
                SessionError::Refused(error) => core.refuse(*id, number, &error),
                error => tracing::warn!(session = number, %error, "dlock: session lost"),
            }
            tracing::warn!(session = number, key = %name, "dlock: lock lost");
            None
        }
    };
    pinned.close().await;
    drop(guest);
    tracing::debug!(session = number, "dlock: session closed");
    last_word
}

/// Until the guard is done, or the lock lost. While its holder is at work on the session, which then tells nothing, another session is asked about it.
async fn look_after(
    core: &Arc<Core>,
    pinned: &mut dyn PinnedSession,
    holder: &Holder,
    is_done: &mut oneshot::Receiver<Confirm>,
    refusals: &mut watch::Receiver<Option<Error>>,
) -> End {
    let mut abandoned = core.abandoned.subscribe();
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut proof = Proof::now(core);
    let mut asked = None;
    loop {
        tokio::select! {
            biased;
            answer = &mut *is_done => return End::Released(answer.ok()),
            () = turned_true(&mut abandoned) => return End::Abandoned,
            _ = refused(refusals) => {
                return End::Lost(SessionError::ended("the lock pool was refused"));
            }
            answer = answered(&mut asked) => match answer {
                Ok(true) => proof = Proof::now(core),
                Ok(false) => {
                    return End::Lost(SessionError::ended("the server does not see its lock any more"));
                }
                Err(error) => {
                    if let Some(error) = proof.doubt(core, error) {
                        return End::Lost(error);
                    }
                }
            },
            _ = heartbeat.tick() => match pinned.take() {
                Ok(Some(session)) => {
                    let alive = within(core.config.reply_timeout(), session.ping()).await;
                    pinned.lend();
                    match alive {
                        Ok(()) => proof = Proof::now(core),
                        Err(error) => return End::Lost(error),
                    }
                }
                Ok(None) if proof.is_too_old(core) => {
                    return End::Lost(SessionError::ended("the server cannot be reached"));
                }
                Ok(None) => asked = asked.or_else(|| Some(ask_another(core, holder.clone()))),
                Err(error) => return End::Lost(error),
            }
        }
    }
}

/// When it was proven last that the lock is held, and what speaks against it since. Another session that cannot be opened, or may not tell, says nothing; only
/// a server that is silent, or not there, does.
struct Proof {
    at: Instant,
    sessions_lost: u64,
    in_doubt: bool,
}

impl Proof {
    fn now(core: &Arc<Core>) -> Self {
        Self {
            at: Instant::now(),
            sessions_lost: sessions_lost(core),
            in_doubt: false,
        }
    }

    /// Why another session could not tell; given back if that is the end.
    fn doubt(&mut self, core: &Arc<Core>, error: SessionError) -> Option<SessionError> {
        let is_unreachable = matches!(error, SessionError::Unreachable(_));
        self.in_doubt |= is_unreachable || matches!(error, SessionError::Silent(_));
        let others_are_lost = sessions_lost(core) > self.sessions_lost;
        (is_unreachable && others_are_lost).then_some(error)
    }

    fn is_too_old(&self, core: &Core) -> bool {
        self.in_doubt && self.at.elapsed() >= core.config.keepalive
    }
}

fn sessions_lost(core: &Arc<Core>) -> u64 {
    core.with(|state, _| state.counters.sessions_lost)
}

type Seen = oneshot::Receiver<Result<bool, SessionError>>;

/// Asks one of the pool's other sessions.
fn ask_another(core: &Arc<Core>, holder: Holder) -> Seen {
    let (answer, seen) = oneshot::channel();
    core.with(|state, now| state.inspect(Inspect::Holder(holder, answer), now));
    seen
}

/// Never, when nobody was asked. Cancel safe.
async fn answered(asked: &mut Option<Seen>) -> Result<bool, SessionError> {
    let Some(seen) = asked else {
        return std::future::pending().await;
    };
    let answer = seen.await;
    *asked = None;
    answer.unwrap_or(Err(Error::PoolClosed.into()))
}

/// The lock is free afterwards, or the error says why it is not.
async fn give_back(
    Task { core, id, .. }: &Task,
    pinned: &mut dyn PinnedSession,
    holder: &Holder,
    name: &Key,
    grace: Duration,
) -> Result<(), Error> {
    let lost = || Error::lost(name, LossCause::Session);
    let Ok(taken) = timeout(grace, pinned.taken()).await else {
        tracing::warn!(key = %name, "dlock: a pinned lock is given back while a transaction or statement is at work on its session, which is ended");
        return end_from_outside(core, holder).await;
    };
    let batch = Batch::of_releases(vec![holder.lock.clone()]);
    let session = taken.map_err(|_closed| lost())?;
    let released = within(core.config.reply_timeout(), session.exchange(&batch)).await;
    let mut answers = released.map_err(|error| match error {
        SessionError::Refused(error) => {
            core.refuse(*id, holder.session, &error);
            lost()
        }
        SessionError::Statement(error) => Phase::Release.failed(error),
        SessionError::Ended(_) | SessionError::Silent(_) | SessionError::Unreachable(_) => lost(),
    })?;
    match answers.releases.pop() {
        Some(Answer::Yes) => Ok(()),
        Some(Answer::Failed(error)) => Err(Phase::Release.failed(error)),
        Some(Answer::No | Answer::Deadlock) | None => Err(lost()),
    }
}

/// The lock stays until its holder leaves the session by itself.
async fn when_left(task: &Task, pinned: &mut dyn PinnedSession, holder: &Holder, name: &Key) {
    let mut abandoned = task.core.abandoned.subscribe();
    let left = tokio::select! {
        taken = pinned.taken() => taken.is_ok(),
        () = turned_true(&mut abandoned) => false,
    };
    if left {
        // It ends with the session at the latest, which is next.
        drop(give_back(task, pinned, holder, name, GRACE).await);
    }
}

/// Ends the session whose holder does not leave it, as an operator would.
async fn end_from_outside(core: &Arc<Core>, holder: &Holder) -> Result<(), Error> {
    let deadline = Instant::now() + core.config.reply_timeout();
    let mut order = Holder {
        end: true,
        ..holder.clone()
    };
    while Instant::now() < deadline {
        let seen = ask_another(core, order.clone()).await;
        match seen.unwrap_or(Err(Error::PoolClosed.into())) {
            Ok(true) => order.end = false,
            Ok(false) => return Ok(()),
            Err(SessionError::Refused(error)) => {
                return Err(Phase::Release.failed(error.into_db_err()));
            }
            Err(error) => return Err(error.of(Phase::Release)),
        }
        sleep(UNTIL_ENDED).await;
    }
    let slow = SessionError::ended("the server has not ended the session in time");
    Err(slow.of(Phase::Release))
}
