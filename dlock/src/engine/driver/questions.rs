//! Questions about the server's locks, which a session answers between its batches.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::alarm::within;
use super::{Engine, exclusion};
use crate::backend::{Request, Session, SessionError};
use crate::engine::machine::{Event, Inspection, Ticket};
use crate::error::{Error, Phase};
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
        let (answer, locks) = oneshot::channel();
        let asking = self.ask(Question::Locks(answer), Event::Inspect);
        let mut locks = locks.await.unwrap_or(Err(Error::PoolClosed))?;
        drop(asking);
        let names = self.with(|shared, _, _| shared.names());
        for lock in &mut locks {
            lock.name = names.get(&lock.key).cloned();
        }
        Ok(locks)
    }

    fn ask(self: &Arc<Self>, question: Question, event: fn(Ticket) -> Event) -> Asking<'_> {
        let ticket = self.with(|shared, now, effects| shared.ask(question, event, now, effects));
        Asking {
            engine: self,
            ticket,
        }
    }

    /// Asks another session than the one that is being opened, if one is free: whether this lock is
    /// refused to it.
    pub(super) fn ask_exclusion(
        self: &Arc<Self>,
        lock: Request,
    ) -> Option<oneshot::Receiver<bool>> {
        let (answer, is_excluded) = oneshot::channel();
        self.with(|shared, now, effects| {
            let question = Question::Excluded(lock, answer);
            shared.machine.can_inspect().then(|| {
                shared.ask(question, Event::Inspect, now, effects);
            })
        })?;
        Some(is_excluded)
    }

    /// Answers the questions of this session. A statement may be refused and the session as good as
    /// before; any other error ends it.
    pub(super) async fn answer(
        self: &Arc<Self>,
        session: &mut dyn Session,
        inspections: Vec<Inspection>,
    ) -> Result<(), SessionError> {
        let mut inspections = inspections.into_iter();
        for inspection in inspections.by_ref() {
            let ended = match self.look(session, inspection).await {
                Ok(()) | Err(SessionError::Statement(_)) => continue,
                Err(error) => error,
            };
            let error = ended.clone().of(Phase::Inspect);
            self.with(|shared, _, _| shared.refuse_questions(inspections, &error));
            return Err(ended);
        }
        Ok(())
    }

    async fn look(
        self: &Arc<Self>,
        session: &mut dyn Session,
        inspection: Inspection,
    ) -> Result<(), SessionError> {
        let limit = self.reply_timeout;
        let ticket = match inspection {
            Inspection::Question(ticket) => ticket,
            Inspection::Blocker(key) => {
                let found = within(limit, session.holder_of(&key)).await;
                let (holder, error) = match found {
                    Ok(holder) => (holder, Ok(())),
                    Err(error) => (None, Err(error)),
                };
                self.report(Event::BlockerFound { key, holder });
                return error;
            }
        };
        let (question, known) = self.with(|shared, _, _| shared.take_question(ticket));
        match question {
            // Its caller is gone.
            None | Some(Question::Meet(_)) => Ok(()),
            Some(Question::Locks(answer)) => {
                let locks = within(limit, session.locks(&known)).await;
                let error = locks.as_ref().err().cloned();
                drop(answer.send(locks.map_err(|error| error.of(Phase::Inspect))));
                error.map_or(Ok(()), Err)
            }
            Some(Question::Excluded(lock, answer)) => {
                let is_excluded = within(limit, exclusion::is_excluded(session, lock)).await?;
                // The new session may have stopped waiting.
                let _ = answer.send(is_excluded);
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
            .with(|shared, now, effects| shared.leave(self.ticket, now, effects));
    }
}
