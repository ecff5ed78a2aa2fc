//! The second part of such a task: the lock is held, its session is watched while it is idle, and
//! ended in the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::guard_side::{GRACE, GuardSide};
use super::reply::{FinalReply, confirm};
use super::session::OwnSession;
use super::{Confirm, Order, Purpose, Upgrade, Wish};
use crate::backend::{Answer, Batch, Opened, Request, Session, SessionError};
use crate::engine::{Engine, OwnTask, Refusal, Refusals, longest_slice, within};
use crate::error::{Error, LossCause, Phase};
use crate::key::Key;
use crate::pool::registry::Guest;

/// How often the idle session is pinged.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long the server may take to end a session whose holder does not leave it.
const LONGEST_END: Duration = Duration::from_secs(5);

/// The server is asked again after this long whether a session has ended.
const UNTIL_ENDED: Duration = Duration::from_millis(5);

const REFUSED: &str = "the lock pool was refused";

/// How such a lock ends.
enum End {
    /// The guard is done, and may wait for the answer.
    Released(Option<Confirm>),
    /// The guards that are left lose their locks.
    Abandoned,
    Lost(SessionError),
}

/// When the runtime ends, the guard's side is dropped before the session: the guard learns of its
/// loss before the lock is free.
pub(super) async fn hold(
    task: &OwnTask,
    mut session: OwnSession,
    mut request: Request,
    order: Order,
) -> Option<FinalReply> {
    let Order {
        core,
        purpose,
        name,
        reply,
        mut refusals,
        ..
    } = order;
    let (engine, number) = (task.engine(), session.number());
    let connection = session.connection();
    let guest = match (purpose, &connection) {
        (Purpose::Pin(pool), Some(connection)) => Some(Guest::new(connection.clone(), pool)),
        _ => None,
    };
    let (mut guard, grant) = GuardSide::new(core, &request, number, connection);
    task.granted(&request, !reply.is_closed());
    session.lend();
    // A caller that is gone drops the grant, which is a release.
    drop(reply.send(Ok(grant)));
    let end = watch_over(
        task,
        &mut session,
        &mut request,
        &mut guard.wishes,
        &mut refusals,
    )
    .await;
    let final_reply = match end {
        End::Released(answer) => {
            let released = give_back(engine, &mut session, &request, &name, GRACE).await;
            if let (Err(error), None) = (&released, &answer) {
                tracing::warn!(session = number, key = %name, %error, "dlock: release failed");
            }
            match released {
                Err(error @ Error::Database { .. }) => {
                    answer.map(|answer| answer.send(Err(error)));
                    // The lock stays until its holder leaves the session.
                    tokio::select! {
                        left = session.taken() => drop(left),
                        () = engine.signals().abandoned() => {}
                    }
                    None
                }
                released => {
                    if released.is_err() {
                        task.session_lost();
                    }
                    confirm(answer, released)
                }
            }
        }
        End::Abandoned => {
            task.lost();
            guard.lose(LossCause::Session).await;
            // Its end frees the lock of a session that is here, which may be in the middle of an
            // upgrade. One that is lent may have to be ended.
            if let OwnSession::Pinned(_) = session {
                drop(give_back(engine, &mut session, &request, &name, Duration::ZERO).await);
            }
            None
        }
        End::Lost(error) => {
            task.lost();
            task.session_lost();
            match error {
                SessionError::Refused(error) => engine.refuse(None, number, &error),
                error => tracing::warn!(session = number, %error, "dlock: session lost"),
            }
            tracing::warn!(session = number, key = %name, "dlock: lock lost");
            guard.loss.tell(LossCause::Session);
            None
        }
    };
    session.close().await;
    task.released();
    drop(guest);
    tracing::debug!(session = number, "dlock: session closed");
    final_reply
}

/// Until the guard is done, or the lock lost. A session at work shows its loss by the next
/// statement of its holder. Here the loss shows when the session is idle again, or too long on its
/// way back from work.
async fn watch_over(
    task: &OwnTask,
    session: &mut OwnSession,
    request: &mut Request,
    wishes: &mut mpsc::UnboundedReceiver<Wish>,
    refusals: &mut Refusals,
) -> End {
    let engine = task.engine();
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            wish = wishes.recv() => match wish {
                None => return End::Released(None),
                Some(Wish::Release(answer)) => return End::Released(Some(answer)),
                Some(Wish::Upgrade(wish)) => {
                    let upgraded = tokio::select! {
                        upgraded = upgrade(engine, session, request, wish, wishes) => upgraded,
                        () = engine.signals().abandoned() => return End::Abandoned,
                        _ = refusals.next() => return End::Lost(SessionError::ended(REFUSED)),
                    };
                    task.upgraded(request.mode);
                    match upgraded {
                        Ok(None) => {}
                        Ok(Some(end)) => return end,
                        Err(error) => return End::Lost(error),
                    }
                }
            },
            () = engine.signals().abandoned() => return End::Abandoned,
            _ = refusals.next() => {
                return End::Lost(SessionError::ended(REFUSED));
            }
            _ = heartbeat.tick() => {
                let alive = match session.take() {
                    Ok(Some(idle)) => within(engine.reply_timeout(), idle.ping()).await,
                    Ok(None) => {
                        let limit = engine.reply_timeout();
                        match session.returning_since() {
                            Some(since) if since.elapsed() > limit => {
                                Err(SessionError::silent(limit))
                            }
                            _ => continue,
                        }
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = alive {
                    return End::Lost(error);
                }
                session.lend();
            }
        }
    }
}

/// Makes the lock a stronger one, for as long as its caller waits for that and the guard is there.
/// An error is the end of the session.
async fn upgrade(
    engine: &Engine,
    session: &mut OwnSession,
    request: &mut Request,
    mut wish: Upgrade,
    wishes: &mut mpsc::UnboundedReceiver<Wish>,
) -> Result<Option<End>, SessionError> {
    let session = session.taken().await?;
    let answer = loop {
        let Upgrade { to, wait, .. } = wish;
        let stronger = Request {
            mode: to,
            ..request.clone()
        };
        let slice = match wait.one_try {
            true => Some(Duration::ZERO),
            false => longest_slice(wait.remaining()),
        };
        let Some(slice) = slice else {
            // The caller is about to give up. One that was forgotten never does.
            sleep(wait.remaining().unwrap_or_default()).await;
            break Err(Refusal::Busy);
        };
        let limit = slice.saturating_add(engine.reply_timeout());
        let Some(upgrading) = session.upgrade_locks() else {
            break Err(Refusal::Busy);
        };
        let answer = within(limit, upgrading.upgrade(&stronger, slice)).await?;
        if let Answer::Yes = answer {
            *request = stronger;
        }
        match wishes.try_recv() {
            Ok(Wish::Release(answer)) => return Ok(Some(End::Released(Some(answer)))),
            Err(TryRecvError::Disconnected) => return Ok(Some(End::Released(None))),
            // The earlier one was given up.
            Ok(Wish::Upgrade(newer)) => {
                wish = newer;
                continue;
            }
            Err(TryRecvError::Empty) => {}
        }
        match answer {
            Answer::Yes => break Ok(()),
            // The session is out of the server's line for a round trip only.
            Answer::No if !wait.one_try && !wish.reply.is_closed() => {}
            Answer::No => break Err(Refusal::Busy),
            Answer::Deadlock => break Err(Refusal::Deadlock),
            Answer::Failed(error) => break Err(Refusal::from(Phase::Acquire.failed(error))),
        }
    };
    // The caller may have given up.
    drop(wish.reply.send(answer));
    Ok(None)
}

/// The lock is free afterwards, or the error says why it is not.
async fn give_back(
    engine: &Arc<Engine>,
    session: &mut OwnSession,
    lock: &Request,
    name: &Key,
    grace: Duration,
) -> Result<(), Error> {
    let number = session.number();
    let lost = || Error::lost(name, LossCause::Session);
    let Ok(taken) = timeout(grace, session.taken()).await else {
        tracing::warn!(session = number, key = %name, "dlock: a pinned lock is released while a transaction or statement is at work on its session, which is ended");
        let ended = timeout(LONGEST_END, end_from_outside(engine, lock, number)).await;
        let ended = ended.unwrap_or_else(|_elapsed| Err(SessionError::silent(LONGEST_END)));
        return match ended.map_err(release_failed)? {
            true => Ok(()),
            false => Err(lost()),
        };
    };
    let batch = Batch::of_releases(vec![lock.clone()]);
    let session = taken.map_err(|_closed| lost())?;
    let released = within(engine.reply_timeout(), session.exchange(&batch)).await;
    let mut answers = released.map_err(|error| match error {
        SessionError::Refused(error) => {
            engine.refuse(None, number, &error);
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

/// Another session ends the one whose holder does not leave it, as an operator would. Returns
/// whether it held the lock until then.
async fn end_from_outside(
    engine: &Engine,
    lock: &Request,
    number: i64,
) -> Result<bool, SessionError> {
    let Opened::Server(mut other) = engine.backend().connect().await? else {
        return Err(SessionError::ended("no server session holds locks there"));
    };
    let ended = end_holder(&mut *other, lock, number).await;
    other.close().await;
    ended
}

async fn end_holder(
    other: &mut dyn Session,
    lock: &Request,
    number: i64,
) -> Result<bool, SessionError> {
    let Some(other) = other.observe_sessions() else {
        return Err(SessionError::ended("sessions are not pinned there"));
    };
    if !other.is_held_by(lock, number).await? {
        return Ok(false);
    }
    other.end_holder(lock, number).await?;
    // A session that is ended holds its locks for a moment.
    while other.is_held_by(lock, number).await? {
        sleep(UNTIL_ENDED).await;
    }
    Ok(true)
}

fn release_failed(error: SessionError) -> Error {
    match error {
        SessionError::Refused(error) => Phase::Release.failed(error.into_db_err()),
        error => error.of(Phase::Release),
    }
}
