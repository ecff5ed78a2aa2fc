//! The task of one inline session: what takes time. Its tries and releases are carried out by the
//! threads that cause them.

use std::sync::Arc;

use sea_orm::DbErr;
use tokio::time::sleep_until;

use super::Engine;
use super::grant::SessionCell;
use super::questions::{Asked, Question};
use super::run::{Ran, Taken};
use super::session_signals::SessionSignals;
use super::task_end::TaskEnd;
use crate::backend::{Answer, Hold, InlineSession, Request};
use crate::engine::machine::{Event, GrantId, Job, SessionId, Traits};
use crate::error::Phase;

/// A session waits by trying again, and answers at once.
const TRAITS: Traits = Traits {
    can_wait: true,
    heartbeat: None,
    tells_holders: false,
    is_inline: true,
};

pub(super) async fn serve(
    session: Arc<dyn InlineSession>,
    id: SessionId,
    signals: &SessionSignals,
    end: TaskEnd,
) {
    let (engine, number) = (Arc::clone(end.engine()), session.number());
    tracing::debug!(session = number, "dlock: session opened");
    let (guards, cell) = SessionCell::new(number);
    let inline = Some(Arc::clone(&session));
    engine.with(|shared, now, effects| shared.opened(id, TRAITS, cell, inline, now, effects));
    carry_out_jobs(&engine, id, signals, &*session).await;
    engine.await_guards(id, guards).await;
    tracing::debug!(session = number, "dlock: session closed");
    end.finish();
}

async fn carry_out_jobs(
    engine: &Arc<Engine>,
    id: SessionId,
    signals: &SessionSignals,
    session: &dyn InlineSession,
) {
    loop {
        engine.run_deferred(id);
        match engine.next(id) {
            Job::Wait {
                request,
                slice,
                grant,
            } => {
                let slice = async {
                    let taken = session.wait(&request, slice).await;
                    waited(engine, id, grant, &request, taken);
                };
                tokio::select! {
                    biased;
                    () = stopped(engine, id, signals) => {
                        let answer = None;
                        engine.report(Event::WaitEnded { session: id, grant, answer });
                    }
                    () = slice => {}
                }
            }
            // Its locks may be taken away one by one.
            Job::Ping => {
                for lost in engine.lost_inline_locks(id) {
                    engine.report(lost);
                }
                engine.report(Event::Pinged(id));
            }
            Job::Inspect(inspections) => {
                for question in engine.take_questions(inspections) {
                    if let Asked::Caller(Question::Locks(answer)) = question {
                        let locks = session.locks().await;
                        drop(answer.send(locks.map_err(|error| Phase::Inspect.failed(error))));
                    }
                }
                engine.report(Event::Inspected(id));
            }
            Job::Idle(until) => {
                let until = engine.instant(until);
                tokio::select! {
                    biased;
                    () = signals.wake.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            Job::Close => return,
            Job::Exchange(_) => unreachable!("BUG: an inline session has no batches"),
        }
    }
}

/// Resolves when the wait of this session is not wanted any more. What threads leave to the session
/// is done meanwhile.
async fn stopped(engine: &Arc<Engine>, id: SessionId, signals: &SessionSignals) {
    while !signals.take_stop() && !signals.closes() {
        engine.run_deferred(id);
        signals.wake.notified().await;
    }
}

fn waited(
    engine: &Arc<Engine>,
    id: SessionId,
    grant: GrantId,
    request: &Request,
    taken: Result<Option<Box<dyn Hold>>, DbErr>,
) {
    let (hold, answer) = match taken {
        Ok(hold) => {
            let answer = Answer::from(hold.is_some());
            (hold, answer)
        }
        Err(error) => (None, Answer::Failed(error)),
    };
    let event = Event::WaitEnded {
        session: id,
        grant,
        answer: Some(answer),
    };
    let taken = hold.map(|hold| Taken {
        session: id,
        grant,
        key: request.key.clone(),
        hold,
    });
    engine.with(|shared, now, effects| shared.ran(Ran { event, taken }, now, effects));
}
