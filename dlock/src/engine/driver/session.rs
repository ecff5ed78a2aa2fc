//! The task that owns one session: it pulls jobs from the machine, carries them out on the server,
//! and reports the answers. It alone touches the socket, and it finishes its statement whatever
//! becomes of the callers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::alarm::{Alarm, in_time};
use super::grant::SessionCell;
use super::session_signals::SessionSignals;
use super::task_end::TaskEnd;
use super::{Engine, LOSS_GRACE, connect_error, exclusion, inline_task};
use crate::backend::{Opened, Session, SessionError};
use crate::engine::machine::{Event, Job, SessionId, Traits};
use crate::error::{Error, Phase};

/// A session looks at its socket when its last answer is older than this and nothing has come in.
const CALM: Duration = Duration::from_millis(5);

pub(super) async fn run(id: SessionId, signals: Arc<SessionSignals>, end: TaskEnd) {
    let engine = Arc::clone(end.engine());
    let opened = tokio::select! {
        opened = engine.backend.connect() => opened,
        () = engine.signals.closing() => Err(Error::PoolClosed.into()),
        () = signals.closing() => return end.finish(),
    };
    match opened {
        Ok(Opened::Server(session)) => serve(session, id, &signals, end).await,
        Ok(Opened::Inline(session)) => inline_task::serve(session, id, &signals, end).await,
        Err(failure) => {
            let error = connect_error(failure);
            Engine::log_refused_session(&error);
            engine.report(Event::OpenFailed { session: id, error });
            engine.settle_dispute();
            end.finish();
        }
    }
}

/// When the runtime ends, `end` is dropped before the session: guards learn of their loss before
/// the locks are free.
async fn serve(
    mut session: Box<dyn Session>,
    id: SessionId,
    signals: &SessionSignals,
    end: TaskEnd,
) {
    let (engine, number) = (Arc::clone(end.engine()), session.number());
    tracing::debug!(session = number, "dlock: session opened");
    let (guards, cell) = SessionCell::new(number);
    let served = async {
        exclusion::prove(&engine, &mut *session).await?;
        let capabilities = session.capabilities();
        let traits = Traits {
            can_wait: capabilities.waits,
            heartbeat: capabilities.heartbeat,
            tells_holders: capabilities.tells_holders,
            is_inline: false,
        };
        engine.with(|shared, now, effects| shared.opened(id, traits, cell, None, now, effects));
        carry_out_jobs(&engine, id, signals, &mut *session).await
    };
    match served.await {
        Ok(()) => {
            engine.await_guards(id, guards).await;
            tracing::debug!(session = number, "dlock: session closed");
        }
        Err(SessionError::Refused(error)) => engine.refuse(Some(id), number, &error),
        Err(error) => {
            tracing::warn!(session = number, %error, "dlock: session lost");
            let error = error.of(Phase::Connect);
            engine.report(Event::SessionLost { session: id, error });
        }
    }
    session.close().await;
    end.finish();
}

impl Engine {
    /// Guards of a session that was taken away from them notice their loss before its locks are
    /// free.
    pub(super) async fn await_guards(self: &Arc<Self>, id: SessionId, guards: watch::Sender<()>) {
        self.with(|shared, _, _| shared.tasks.forget(id));
        drop(timeout(LOSS_GRACE, guards.closed()).await);
    }
}

/// Until the session is to be closed, or is lost.
async fn carry_out_jobs(
    engine: &Arc<Engine>,
    id: SessionId,
    signals: &SessionSignals,
    session: &mut dyn Session,
) -> Result<(), SessionError> {
    let limit = engine.reply_timeout;
    let mut alarm = Alarm::new();
    let mut answered_at = Instant::now();
    let mut next = None;
    loop {
        match next.take().unwrap_or_else(|| engine.next(id)) {
            Job::Exchange(batch) => {
                let answers = in_time(&mut alarm, limit, session.exchange(&batch)).await?;
                answered_at = Instant::now();
                let count = batch.tries.len() + batch.releases.len();
                // The machine uses its room again.
                drop(batch);
                let answered = Event::Answered {
                    session: id,
                    answers,
                };
                if count == 1 {
                    next = Some(engine.report_and_go_on(answered, id));
                } else {
                    engine.report(answered);
                    // The callers that were answered run first: their next requests travel
                    // together.
                    yield_now().await;
                }
            }
            Job::Wait {
                request,
                slice,
                grant,
            } => {
                let limit = slice.saturating_add(limit);
                let answer = tokio::select! {
                    biased;
                    answer = in_time(&mut alarm, limit, session.wait(&request, slice)) => answer?,
                    () = signals.closing() => return Ok(()),
                };
                engine.report(Event::WaitEnded {
                    session: id,
                    grant,
                    answer: Some(answer),
                });
            }
            Job::Ping => {
                in_time(&mut alarm, limit, session.ping()).await?;
                engine.report(Event::Pinged(id));
            }
            Job::Inspect(inspections) => {
                engine.answer(session, inspections).await?;
                engine.report(Event::Inspected(id));
            }
            Job::Idle(until) => {
                let until = engine.instant(until);
                // Callers that were answered often ask again at once, and a look at the socket
                // costs two system calls.
                let soon = until.min(answered_at + CALM);
                tokio::select! {
                    biased;
                    () = signals.wake.notified() => continue,
                    () = alarm.until(soon) => {}
                }
                tokio::select! {
                    biased;
                    () = signals.wake.notified() => {}
                    error = session.gone() => return Err(error),
                    () = alarm.until(until) => {}
                }
            }
            Job::Close => return Ok(()),
        }
    }
}
