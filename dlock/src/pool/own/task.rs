//! The task of a lock with a session of its own, its first part: it opens the session, and waits
//! for the lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::time::sleep;

use super::hold::hold;
use super::reply::{FinalReply, refuse};
use super::session::OwnSession;
use super::{Order, Purpose, sidecar};
use crate::backend::{Answer, Backend, Batch, Opened, PinnedBase, Request, Session, SessionError};
use crate::engine::{MAX_STILLBORN, OwnTask, Refusal, backoff, next_slice, within};
use crate::error::{Error, Phase};

pub(super) async fn run(task: OwnTask, order: Order) {
    let reply = serve(&task, order).await;
    task.finish();
    if let Some(reply) = reply {
        reply();
    }
}

async fn serve(task: &OwnTask, mut order: Order) -> Option<FinalReply> {
    let mut stillborn = 0;
    loop {
        let session = match open(task, &mut order).await {
            Ok(Some(Base::Session(session))) => session,
            Ok(Some(Base::Sidecar {
                connection,
                is_private,
            })) => return sidecar::serve(task, order, connection, is_private).await,
            Ok(None) => return None,
            Err(error) => return Some(refuse(order, Refusal::from(error))),
        };
        match on_session(task, session, order, &mut stillborn).await {
            Served::Over(reply) => return reply,
            Served::Again(again) => order = *again,
        }
    }
}

/// What a lock is held on.
enum Base {
    Session(OwnSession),
    /// A connection beside an ordinary lock; see [`PinnedBase::Sidecar`].
    Sidecar {
        connection: DatabaseConnection,
        is_private: bool,
    },
}

/// `None`: the caller waits no longer.
async fn open(task: &OwnTask, order: &mut Order) -> Result<Option<Base>, Error> {
    let engine = task.engine();
    let Order {
        reply,
        refusals,
        purpose,
        ..
    } = order;
    let opened = tokio::select! {
        biased;
        () = reply.closed() => return Ok(None),
        () = engine.signals().closing() => return Err(Error::PoolClosed),
        error = refusals.next() => return Err(error),
        opened = connect(engine.backend(), purpose) => opened,
    };
    match opened {
        Ok(base) => {
            task.opened();
            order.is_open.store(true, Ordering::Relaxed);
            Ok(Some(base))
        }
        Err(error) => {
            let error = error.of(Phase::Connect);
            task.open_failed(&error);
            Err(error)
        }
    }
}

async fn connect(backend: &Arc<dyn Backend>, purpose: &Purpose) -> Result<Base, SessionError> {
    match purpose {
        Purpose::Pin(_) => Ok(match backend.open_pinned().await? {
            PinnedBase::Session(session) => Base::Session(OwnSession::Pinned(session)),
            PinnedBase::Sidecar {
                connection,
                is_private,
            } => Base::Sidecar {
                connection,
                is_private,
            },
        }),
        Purpose::Upgrade => match backend.connect().await? {
            Opened::Server(session) => Ok(Base::Session(OwnSession::Plain(session))),
            Opened::Inline(_) => Err(SessionError::ended("no server session holds locks there")),
        },
    }
}

/// How a session was of use.
enum Served {
    Over(Option<FinalReply>),
    /// It died before it got the lock.
    Again(Box<Order>),
}

/// The life of one session.
async fn on_session(
    task: &OwnTask,
    mut session: OwnSession,
    mut order: Order,
    stillborn: &mut u32,
) -> Served {
    let number = session.number();
    tracing::debug!(session = number, "dlock: session opened");
    let asked = match order.core.try_physical_key(&order.name) {
        Ok(key) => {
            let request = Request {
                key: key.expect("BUG: the server is known by its first session"),
                mode: order.mode,
            };
            match ask(task, &mut session, &request, &mut order, stillborn).await {
                Ok(Asked::Granted) => {
                    return Served::Over(hold(task, session, request, order).await);
                }
                asked => asked,
            }
        }
        Err(error) => Ok(Asked::Refused(Refusal::from(error))),
    };
    let refusal = match asked {
        Ok(Asked::Refused(refusal)) => Some(refusal),
        Ok(Asked::Granted | Asked::Unwanted) => None,
        Err(SessionError::Refused(error)) => {
            task.engine().refuse(None, number, &error);
            task.session_lost();
            Some(Refusal::from(error))
        }
        Err(error) => {
            tracing::warn!(session = number, %error, "dlock: session lost");
            task.session_lost();
            order.is_open.store(false, Ordering::Relaxed);
            *stillborn += 1;
            if *stillborn < MAX_STILLBORN {
                return Served::Again(Box::new(order));
            }
            Some(Refusal::from(error.of(Phase::Acquire)))
        }
    };
    session.close().await;
    tracing::debug!(session = number, "dlock: session closed");
    Served::Over(refusal.map(|refusal| refuse(order, refusal)))
}

/// How the request for the lock ended.
enum Asked {
    Granted,
    Refused(Refusal),
    /// The caller waits no longer.
    Unwanted,
}

/// Asks for the lock until there is an answer. An error is the end of the session.
async fn ask(
    task: &OwnTask,
    session: &mut OwnSession,
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
    let signals = task.engine().signals();
    let limit = task.engine().reply_timeout();
    let session = session
        .take()?
        .expect("BUG: its holder does not know it yet");
    let mut answer = try_once(session, request, limit).await?;
    let mut slices = 0;
    loop {
        *stillborn = 0;
        match answer {
            Answer::Yes => return Ok(Asked::Granted),
            Answer::Deadlock => return Ok(Asked::Refused(Refusal::Deadlock)),
            Answer::Failed(error) => {
                let error = Phase::Acquire.failed(error);
                return Ok(Asked::Refused(Refusal::from(error)));
            }
            Answer::No if slices == 0 => task.contended(),
            Answer::No => {}
        }
        if wait.one_try {
            return Ok(Asked::Refused(Refusal::Busy));
        }
        let next = async {
            match next_slice(slices, wait.remaining()) {
                Some(slice) if session.capabilities().waits => {
                    let limit = slice.saturating_add(limit);
                    within(limit, session.wait(request, slice)).await
                }
                Some(slice) => {
                    sleep(backoff(slices, fastrand::f64()).min(slice)).await;
                    try_once(session, request, limit).await
                }
                // The caller is about to give up.
                None => std::future::pending().await,
            }
        };
        // A wait that is given up ends with its session, so that its place is free.
        answer = tokio::select! {
            biased;
            () = reply.closed() => return Ok(Asked::Unwanted),
            () = signals.closing() => return Ok(Asked::Refused(Refusal::from(Error::PoolClosed))),
            error = refusals.next() => return Ok(Asked::Refused(Refusal::from(error))),
            answer = next => answer?,
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
    let answer = answers.tries.pop();
    answer.ok_or_else(|| SessionError::ended("the server has not answered the try"))
}
