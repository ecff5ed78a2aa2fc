//! The task that owns one session: takes work from the state, talks to the server, reports. It alone touches the socket, and it finishes its statement whatever
//! becomes of those who asked for it. Only a wait is cut short: when the pool closes, and its session with it; and without a server, when nobody waits any more.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::alarm::Alarm;
use super::core::Core;
use super::exclusion;
use super::jobs::{Job, after};
use super::queue::{Loss, SessionId};
use super::sessions::{Holder, Inspect};
use crate::backend::{Answer, Request, Session, SessionError};
use crate::error::{Error, Phase};
use crate::key::PhysicalKey;

/// A session looks at its socket when its last answer is older than this and nothing has come in.
const CALM: Duration = Duration::from_millis(5);

/// Requests are gathered for about as long as their statement takes.
const GATHERING: Duration = Duration::from_micros(500);

/// How long a session that was taken away from its guards stays open for them to notice.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) async fn run(task: Task) {
    let (core, id) = (Arc::clone(&task.core), task.session);
    let connected = tokio::select! {
        connected = core.backend.connect() => connected,
        () = unneeded(&core) => Err(Error::PoolClosed.into()),
    };
    match connected {
        Ok(session) => serve(session, task).await,
        Err(failure) => {
            let error = failure.clone().of(Phase::Connect);
            if !matches!(error, Error::PoolClosed) {
                tracing::warn!(%error, cause = cause(&error), "dlock: session refused");
            }
            core.with(|state, now| state.open_failed(id, &failure, now));
            core.settle_dispute();
            task.finish();
        }
    }
}

/// The pool closes, and no lock is held that another session has to be asked about.
async fn unneeded(core: &Arc<Core>) {
    drop(core.closing.subscribe().wait_for(|closing| *closing).await);
    loop {
        let ended = core.task_ended.notified();
        if !core.with(|state, _| state.has_pinned_held()) {
            return;
        }
        ended.await;
    }
}

pub(super) fn cause(error: &dyn std::error::Error) -> Option<String> {
    error.source().map(ToString::to_string)
}

/// When the runtime ends, the task is dropped before the session: guards hear of their loss before the locks are free.
async fn serve(mut session: Box<dyn Session>, task: Task) {
    let (core, id, number) = (&task.core, task.session, session.number());
    tracing::debug!(session = number, "dlock: session opened");
    let served = async {
        exclusion::prove(core, &mut *session).await?;
        core.with(|state, now| state.session_ready(id, &*session, now));
        carry_out_jobs(core, id, &mut *session).await
    };
    match served.await {
        Ok(farewell) => {
            if let Some(guards) = farewell {
                drop(timeout(FAREWELL, guards.closed()).await);
            }
            tracing::debug!(session = number, "dlock: session closed");
        }
        Err(SessionError::Refused(error)) => core.refuse(id, number, &error),
        Err(error) => {
            tracing::warn!(session = number, %error, "dlock: session lost");
            for key in core.with(|state, now| state.session_lost(id, &error, now)) {
                tracing::warn!(session = number, %key, "dlock: lock lost");
            }
        }
    }
    session.close().await;
    task.finish();
}

/// Until the session is to be closed, or is lost.
async fn carry_out_jobs(
    core: &Arc<Core>,
    id: SessionId,
    session: &mut dyn Session,
) -> Result<Option<watch::Sender<Loss>>, SessionError> {
    let reply_timeout = core.config.reply_timeout();
    let is_local = session.inline().is_some();
    let Some(inbox) = core.with(|state, _| state.inbox(id)) else {
        return Ok(None);
    };
    let mut closing = core.closing.subscribe();
    let mut abandoned = core.abandoned.subscribe();
    let mut alarm = Alarm::new();
    let mut answered_at = Instant::now();
    let mut next = None;
    loop {
        let job = next.take();
        match job.unwrap_or_else(|| core.with(|state, now| state.next_job(id, now))) {
            Job::Exchange(batch) => {
                let answers = in_time(&mut alarm, reply_timeout, session.exchange(&batch)).await?;
                answered_at = Instant::now();
                let count = batch.tries.len() + batch.releases.len();
                // The state uses its room again.
                drop(batch);
                if count == 1 {
                    next = Some(core.with(|state, now| {
                        state.exchanged(id, answers, now)?;
                        Ok::<_, SessionError>(state.next_job(id, now))
                    })?);
                } else {
                    core.with(|state, now| state.exchanged(id, answers, now))?;
                    gather(core, id, count).await;
                }
            }
            Job::Wait(request, slice) => {
                tokio::select! {
                    biased;
                    () = inbox.notified(), if is_local => {
                        core.with(|state, now| state.waited(id, None, now));
                    }
                    answer = in_time(&mut alarm, slice.saturating_add(reply_timeout), session.wait(&request, slice)) => {
                        let answer = answer?;
                        core.with(|state, now| state.waited(id, Some(answer), now));
                    }
                    _ = closing.wait_for(|closing| *closing) => {
                        return Ok(core.with(|state, now| state.wait_abandoned(id, now)));
                    }
                }
            }
            Job::Upgrade(request, slice) => {
                let limit = slice.saturating_add(reply_timeout);
                tokio::select! {
                    biased;
                    answer = in_time(&mut alarm, limit, upgrade(session, &request, slice)) => {
                        let answer = answer?;
                        core.with(|state, now| state.upgraded(id, &request, answer, now));
                    }
                    _ = abandoned.wait_for(|abandoned| *abandoned) => {
                        return Ok(core.with(|state, _| state.abandoned.remove(&id)));
                    }
                }
            }
            Job::Ping => {
                in_time(&mut alarm, reply_timeout, session.ping()).await?;
                core.with(|state, now| state.pinged(id, now));
            }
            Job::Inspect(inspections, known) => {
                answer(core, session, inspections, &known, reply_timeout).await?;
            }
            Job::Yield => yield_now().await,
            Job::Idle(until) => {
                // Whoever has been answered often asks again at once; looking at the socket costs two system calls, so it is done when that has not happened.
                let soon = until.min(answered_at + CALM);
                tokio::select! {
                    biased;
                    () = inbox.notified() => continue,
                    () = alarm.until(soon) => {}
                }
                tokio::select! {
                    biased;
                    () = inbox.notified() => {}
                    error = session.gone() => return Err(error),
                    () = alarm.until(until) => {}
                }
            }
            Job::Close(farewell) => return Ok(farewell),
        }
    }
}

/// Lets those run who were answered, so that their next requests travel together. The runtime runs only some of them at a time, and those of other sessions
/// in between: so on with it for as long as anybody asks for anything, within bounds: nobody's request waits for a runtime that is busy with other things.
pub(super) async fn gather(core: &Arc<Core>, id: SessionId, answers: usize) {
    let (mut asked, until) = core.with(|state, now| (state.asked, now + GATHERING));
    loop {
        yield_now().await;
        let before = asked;
        let done = core.with(|state, now| {
            asked = state.asked;
            state.pending(id) >= answers || asked == before || now >= until
        });
        if done {
            return;
        }
    }
}

/// Answers questions about the server's locks. A statement may be refused and the session as good as before; an error of the connection ends it.
async fn answer(
    core: &Arc<Core>,
    session: &mut dyn Session,
    inspections: Vec<Inspect>,
    known: &[PhysicalKey],
    limit: Duration,
) -> Result<(), SessionError> {
    let mut inspections = inspections.into_iter();
    let failed = |error: SessionError| error.of(Phase::Inspect);
    let ended = loop {
        let error = match inspections.next() {
            None => return Ok(()),
            Some(Inspect::Locks(answer)) => {
                let locks = within(limit, session.locks(known)).await;
                let error = locks.as_ref().err().cloned();
                drop(answer.send(locks.map_err(failed)));
                error
            }
            Some(Inspect::Holder(holder, answer)) => {
                let seen = within(limit, look_at(session, holder)).await;
                let error = seen.as_ref().err().cloned();
                drop(answer.send(seen));
                error
            }
            Some(Inspect::Blocker(key)) => {
                let holder = within(limit, session.holder_of(&key)).await;
                let error = holder.as_ref().err().cloned();
                core.with(|state, now| state.blocker_found(&key, holder.ok().flatten(), now));
                error
            }
            Some(Inspect::Excluded(lock, answer)) => {
                match within(limit, exclusion::is_excluded(session, lock)).await {
                    Ok(is_excluded) => {
                        drop(answer.send(Ok(is_excluded)));
                        None
                    }
                    Err(error) => break error,
                }
            }
        };
        match error {
            Some(SessionError::Statement(_)) | None => {}
            Some(error) => break error,
        }
    };
    for inspection in inspections {
        inspection.refuse(&ended, Phase::Inspect);
    }
    Err(ended)
}

/// Whether it holds its lock still, which one that is ended does for a moment.
async fn look_at(session: &mut dyn Session, holder: Holder) -> Result<bool, SessionError> {
    let Holder {
        lock,
        session: number,
        end,
    } = holder;
    let Some(observer) = session.observe_sessions() else {
        let error = DbErr::Custom("sessions are not pinned here".to_owned());
        return Err(SessionError::Statement(error));
    };
    if end {
        observer.end_holder(&lock, number).await?;
    }
    observer.is_held_by(&lock, number).await
}

async fn upgrade(
    session: &mut dyn Session,
    request: &Request,
    slice: Duration,
) -> Result<Answer, SessionError> {
    match session.upgrade_locks() {
        Some(session) => session.upgrade(request, slice).await,
        None => Ok(Answer::Failed(DbErr::Custom(
            "locks are not upgraded here".to_owned(),
        ))),
    }
}

/// A server that does not answer in time may be cut off: the session is given up.
pub(super) async fn within<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    in_time(&mut Alarm::new(), limit, statement).await
}

/// [`within`], for a task that does it often.
async fn in_time<T>(
    alarm: &mut Alarm,
    limit: Duration,
    statement: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let deadline = after(Instant::now(), limit);
    tokio::select! {
        biased;
        answer = statement => answer,
        () = alarm.until(deadline) => Err(SessionError::silent(limit)),
    }
}

/// Notices when the task is dropped before its end: the runtime ends, or a bug made it panic.
pub(crate) struct Task {
    core: Arc<Core>,
    session: SessionId,
    epoch: u64,
    finished: bool,
}

impl Task {
    pub(crate) fn new(core: Arc<Core>, session: SessionId, epoch: u64) -> Self {
        Self {
            core,
            session,
            epoch,
            finished: false,
        }
    }

    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Self {
            epoch, finished, ..
        } = *self;
        match finished {
            true => self.core.with(|state, _| state.task_finished(epoch)),
            false => self.core.runtime_ended(epoch),
        }
        self.core.task_ended.notify_waiters();
    }
}
