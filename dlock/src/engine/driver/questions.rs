//! Questions about the server's locks, which a session answers between its batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::alarm::within;
use super::{Engine, exclusion};
use crate::backend::{Request, Session, SessionError};
use crate::engine::machine::{Event, Inspection, Ticket};
use crate::error::{Error, Phase};
use crate::key::PhysicalKey;
use crate::server_lock::ServerLock;

/// A caller's question, and where its answer goes.
#[derive(Debug)]
pub(super) enum Question {
    /// Is a session open?
    Meet(oneshot::Sender<Result<(), Error>>),
    /// Which locks are there?
    Locks(oneshot::Sender<Result<Vec<ServerLock>, Error>>),
    /// Is a lock that another session holds refused to this one?
    Excluded(Request, oneshot::Sender<bool>),
}

impl Question {
    /// What was asked for is there.
    pub(super) fn accept(self) {
        if let Self::Meet(answer) = self {
            // The caller may be gone.
            drop(answer.send(Ok(())));
        }
    }

    /// It gets no other answer.
    pub(super) fn refuse(self, error: &Error) {
        // The caller may be gone.
        match self {
            Self::Meet(answer) => drop(answer.send(Err(error.clone()))),
            Self::Locks(answer) => {
                let error = match error.clone() {
                    Error::Database { source, .. } => Phase::Inspect.failed(source),
                    error => error,
                };
                drop(answer.send(Err(error)));
            }
            Self::Excluded(..) => {}
        }
    }
}

/// A question in the hands of a session's task. Dropped with the task, it drops its way to an
/// answer.
pub(super) enum Asked {
    Caller(Question),
    /// The machine wants to know who holds this key.
    Blocker(PhysicalKey),
}

/// So many runtimes may end under one question.
const MAX_RUNTIMES: usize = 3;

impl Engine {
    /// Waits until a session is open, and the server known by it.
    pub(crate) async fn meet(self: &Arc<Self>) -> Result<(), Error> {
        let (answer, met) = oneshot::channel();
        let _asking = self.ask(Question::Meet(answer), Event::Meet);
        // A runtime that ends drops the sender: the caller asks once more, on its own runtime.
        met.await.unwrap_or(Ok(()))
    }

    /// The server's locks.
    pub(crate) async fn locks(self: &Arc<Self>) -> Result<Vec<ServerLock>, Error> {
        for _ in 0..MAX_RUNTIMES {
            let (answer, locks) = oneshot::channel();
            let asking = self.ask(Question::Locks(answer), Event::Inspect);
            // A runtime that ends drops the sender: the next turn asks on ours.
            let Ok(answer) = locks.await else {
                continue;
            };
            drop(asking);
            let mut locks = answer?;
            let names = self.with(|shared, _, _| shared.names());
            for lock in &mut locks {
                lock.name = names.get(&lock.key).cloned();
            }
            return Ok(locks);
        }
        Err(Error::NoRuntime)
    }

    fn ask(self: &Arc<Self>, question: Question, event: fn(Ticket) -> Event) -> Asking<'_> {
        let ticket = self.with(|shared, now, effects| shared.ask(question, event, now, effects));
        Asking {
            engine: self,
            ticket,
        }
    }

    /// Asks another session than the one that is being opened whether this lock is refused to it.
    /// `None`: no other session is free, or has answered within `limit`.
    pub(super) async fn ask_exclusion(
        self: &Arc<Self>,
        lock: Request,
        limit: Duration,
    ) -> Option<bool> {
        let (answer, is_excluded) = oneshot::channel();
        let ticket = self.with(|shared, now, effects| {
            let question = Question::Excluded(lock, answer);
            let can_ask = shared.machine.can_inspect();
            can_ask.then(|| shared.ask(question, Event::Inspect, now, effects))
        })?;
        let _asking = Asking {
            engine: self,
            ticket,
        };
        timeout(limit, is_excluded).await.ok()?.ok()
    }

    /// The questions of these inspections, as far as their callers are there.
    pub(super) fn take_questions(self: &Arc<Self>, inspections: Vec<Inspection>) -> Vec<Asked> {
        self.with(|shared, _, _| {
            let asked = inspections
                .into_iter()
                .filter_map(|inspection| match inspection {
                    Inspection::Question(ticket) => shared.take_question(ticket).map(Asked::Caller),
                    Inspection::Blocker(key) => Some(Asked::Blocker(key)),
                });
            asked.collect()
        })
    }

    /// Answers the questions of this session. A statement may be refused and the session as good as
    /// before; any other error ends it.
    pub(super) async fn answer(
        self: &Arc<Self>,
        session: &mut dyn Session,
        inspections: Vec<Inspection>,
    ) -> Result<(), SessionError> {
        let mut questions = self.take_questions(inspections).into_iter();
        for question in questions.by_ref() {
            let ended = match self.look(session, question).await {
                Ok(()) | Err(SessionError::Statement(_)) => continue,
                Err(error) => error,
            };
            let error = ended.clone().of(Phase::Inspect);
            for question in questions {
                if let Asked::Caller(question) = question {
                    question.refuse(&error);
                }
            }
            return Err(ended);
        }
        Ok(())
    }

    async fn look(
        self: &Arc<Self>,
        session: &mut dyn Session,
        question: Asked,
    ) -> Result<(), SessionError> {
        let limit = self.reply_timeout;
        match question {
            Asked::Blocker(key) => {
                let found = within(limit, session.holder_of(&key)).await;
                let (holder, error) = match found {
                    Ok(holder) => (holder, Ok(())),
                    Err(error) => (None, Err(error)),
                };
                self.report(Event::BlockerFound { key, holder });
                error
            }
            Asked::Caller(Question::Meet(_)) => Ok(()),
            Asked::Caller(Question::Locks(answer)) => {
                let known = self.with(|shared, _, _| shared.names());
                let known: Vec<_> = known.into_keys().collect();
                let locks = within(limit, session.locks(&known)).await;
                let error = locks.as_ref().err().cloned();
                drop(answer.send(locks.map_err(|error| error.of(Phase::Inspect))));
                error.map_or(Ok(()), Err)
            }
            Asked::Caller(Question::Excluded(lock, answer)) => {
                let is_excluded = within(limit, exclusion::is_excluded(session, lock)).await;
                // The new session may have stopped waiting.
                let _ = answer.send(is_excluded.map_err(|error| match error {
                    // This session may hold the probe lock.
                    SessionError::Statement(error) => SessionError::Ended(error),
                    error => error,
                })?);
                Ok(())
            }
        }
    }
}

/// A question that was asked; dropping it withdraws it.
struct Asking<'a> {
    engine: &'a Arc<Engine>,
    ticket: Ticket,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.engine
            .with(|shared, now, effects| shared.withdraw(self.ticket, now, effects));
    }
}
