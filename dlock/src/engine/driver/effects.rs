//! What a change of the state causes outside of the mutex.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Engine;
use super::callers::{GrantReply, Refusal};
use super::grant::{Grant, GrantCell};
use super::inline::Run;
use super::session_signals::SessionSignals;
use crate::backend::{Hold, InlineSession};
use crate::engine::machine::SessionId;
use crate::error::{LossCause, RUNTIME_ENDED};

/// Commands of one change, resolved to their receivers.
#[derive(Default)]
pub(super) struct Effects {
    list: Vec<Effect>,
    /// What the calling thread does for inline sessions, before anything else.
    runs: Vec<Run>,
    wakes_keeper: bool,
}

pub(super) enum Effect {
    Wake(Arc<SessionSignals>),
    Reply(GrantReply, Result<Arc<GrantCell>, Refusal>),
    Confirm(oneshot::Sender<bool>, bool),
    /// The guards of this grant learn of its loss, which was flagged.
    TellLoss(Arc<GrantCell>),
    /// So many guards have lost their locks with their runtime: one line for all.
    LogRuntimeLoss(u64),
    /// An inline session waits no longer.
    Leave(Arc<dyn InlineSession>),
    /// A lock without a holder.
    Drop(Box<dyn Hold>),
    Start(Start),
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

    pub(super) fn run(&mut self, run: Run) {
        self.runs.push(run);
    }

    pub(super) fn take_runs(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.runs)
    }

    pub(super) fn wake_keeper(&mut self) {
        self.wakes_keeper = true;
    }

    /// # Panics
    ///
    /// When a waker panics, after all effects were carried out.
    pub(super) fn carry_out(self, engine: &Arc<Engine>) {
        let mut panicked = None;
        let mut attempt = |effect: &mut dyn FnMut()| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(effect)) {
                panicked.get_or_insert(panic);
            }
        };
        if !self.runs.is_empty() {
            let mut runs = Some(self.runs);
            attempt(&mut || engine.run(runs.take().unwrap_or_default()));
        }
        for effect in self.list {
            let mut effect = Some(effect);
            attempt(&mut || {
                if let Some(effect) = effect.take() {
                    effect.carry_out(engine);
                }
            });
        }
        if self.wakes_keeper {
            engine.wake_keeper.notify_one();
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}

impl Effect {
    fn carry_out(self, engine: &Arc<Engine>) {
        // A receiver may be gone: a grant that is not received is released by its drop.
        match self {
            Self::Wake(signals) => signals.wake.notify_one(),
            Self::Reply(reply, answer) => {
                let grant = answer.map(|cell| Grant::new(Arc::clone(engine), cell));
                drop(reply.send(grant));
            }
            Self::Confirm(reply, was_held) => drop(reply.send(was_held)),
            Self::TellLoss(cell) => {
                if cell.loss.cause() == LossCause::Session {
                    let (session, key) = (cell.session.number(), &cell.name);
                    tracing::warn!(session, %key, "dlock: lock lost");
                }
                cell.loss.tell();
            }
            Self::LogRuntimeLoss(locks) => {
                tracing::warn!(locks, "dlock: locks were lost {RUNTIME_ENDED}");
            }
            Self::Leave(session) => session.leave(),
            Self::Drop(hold) => drop(hold),
            Self::Start(start) => engine.start(start),
        }
    }
}
