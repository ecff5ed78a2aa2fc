//! What a change of the state causes outside of the mutex.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::callers::{Caller, GrantReply, Refusal};
use super::grant::{Grant, Granted, Loss};
use super::questions::Question;
use super::run::{InlineLock, Run};
use super::session_signals::SessionSignals;
use super::{Engine, cause};
use crate::backend::{Hold, InlineSession};
use crate::engine::machine::SessionId;
use crate::error::{Error, LossCause, RUNTIME_ENDED};
use crate::key::Key;

/// Commands of one change, resolved to their receivers.
#[derive(Default)]
pub(super) struct Effects {
    list: SmallVec<[Effect; 4]>,
    /// What the calling thread does for inline sessions, before anything else.
    runs: Vec<Run>,
    wakes_keeper: bool,
}

pub(super) enum Effect {
    Wake(Arc<SessionSignals>),
    Grant(GrantReply, Granted),
    Refuse(GrantReply, Refusal),
    Confirm(oneshot::Sender<bool>, bool),
    Answer(Box<Question>, Result<(), Box<Error>>),
    /// The way to a reply is dropped: the caller learns that there is none.
    Forget(Box<Caller>),
    /// Guards learn of their loss, which was flagged.
    TellLoss(Arc<Loss>),
    /// A lock is lost that has this name, with the session of this number.
    LogLoss(Key, i64),
    /// The session of this number has answered so that its locks are not known any more.
    LogDoubt(Box<Error>, i64),
    /// So many guards have lost their locks with their runtime: one line for all.
    LogRuntimeLoss(u64),
    /// An inline session waits no longer.
    Leave(Arc<dyn InlineSession>),
    /// A lock of an inline session that is lost.
    Close(Arc<InlineLock>),
    /// A lock of an inline session that has ended in between.
    Drop(Box<dyn Hold>),
    Start(Box<Start>),
}

/// A task that is to be started.
pub(super) struct Start {
    pub(super) runtime: Handle,
    pub(super) epoch: u64,
    pub(super) what: Task,
}

pub(super) enum Task {
    Keeper,
    Session(SessionId, Arc<SessionSignals>),
}

impl Effects {
    pub(super) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Guards have lost their locks.
    pub(super) fn lose(&mut self, loss: &Arc<Loss>, cause: LossCause) {
        if loss.set(cause) {
            self.push(Effect::TellLoss(Arc::clone(loss)));
        }
    }

    pub(super) fn extend(&mut self, effects: impl IntoIterator<Item = Effect>) {
        self.list.extend(effects);
    }

    pub(super) fn run(&mut self, run: Run) {
        self.runs.push(run);
    }

    pub(super) fn take_runs(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.runs)
    }

    pub(super) fn wake_keeper(&mut self) {
        self.wakes_keeper = true;
    }

    /// A waker of a caller that panics loses no other effect. Its panic ends here: the thread may
    /// be that of a session with locks of others.
    pub(super) fn carry_out(&mut self, engine: &Arc<Engine>) {
        let mut runs = self.take_runs();
        let mut list = self.list.drain(..);
        let mut all = || {
            if !runs.is_empty() {
                engine.run(std::mem::take(&mut runs));
            }
            list.by_ref().for_each(|effect| effect.carry_out(engine));
        };
        while catch_unwind(AssertUnwindSafe(&mut all)).is_err() {
            tracing::error!("dlock: the waker of a caller panicked");
        }
        if self.wakes_keeper {
            engine.wake_keeper.notify_one();
        }
    }
}

impl Effect {
    fn carry_out(self, engine: &Arc<Engine>) {
        // A receiver may be gone: a grant that is not received is released by its drop.
        match self {
            Self::Wake(signals) => signals.wake.notify_one(),
            Self::Grant(reply, granted) => {
                drop(reply.send(Ok(Grant::new(Arc::clone(engine), granted))));
            }
            Self::Refuse(reply, refusal) => drop(reply.send(Err(refusal))),
            Self::Confirm(reply, was_held) => drop(reply.send(was_held)),
            Self::Answer(question, Ok(())) => question.accept(),
            Self::Answer(question, Err(error)) => question.refuse(&error),
            Self::Forget(caller) => drop(caller),
            Self::TellLoss(loss) => loss.tell(),
            Self::LogLoss(key, session) => {
                tracing::warn!(session, %key, "dlock: lock lost");
            }
            Self::LogDoubt(error, session) => {
                let cause = cause(&error);
                tracing::warn!(session, %error, cause, "dlock: session lost");
            }
            Self::LogRuntimeLoss(locks) => {
                tracing::warn!(locks, "dlock: locks were lost {RUNTIME_ENDED}");
            }
            Self::Leave(session) => session.leave(),
            Self::Close(lock) => lock.close(),
            Self::Drop(hold) => drop(hold),
            Self::Start(start) => engine.start(*start),
        }
    }
}
