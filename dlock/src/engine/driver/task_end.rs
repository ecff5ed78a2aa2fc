//! How the pool learns that one of its tasks has ended.

use std::sync::Arc;

use super::Engine;
use super::effects::Effect;
use crate::backend::SessionError;
use crate::engine::machine::{Event, SessionId};
use crate::error::{LossCause, Phase};

/// A session of one lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnId(pub(super) u64);

/// Notices that a task has ended, also when it is dropped with its runtime or panics.
pub(crate) struct TaskEnd {
    engine: Arc<Engine>,
    epoch: u64,
    owner: Owner,
    is_finished: bool,
}

enum Owner {
    Keeper,
    Session(SessionId),
    Own(OwnId),
}

impl TaskEnd {
    pub(super) fn of_keeper(engine: Arc<Engine>, epoch: u64) -> Self {
        Self::new(engine, epoch, Owner::Keeper)
    }

    pub(super) fn of_session(engine: Arc<Engine>, epoch: u64, id: SessionId) -> Self {
        Self::new(engine, epoch, Owner::Session(id))
    }

    pub(super) fn of_own(engine: Arc<Engine>, epoch: u64, id: OwnId) -> Self {
        Self::new(engine, epoch, Owner::Own(id))
    }

    fn new(engine: Arc<Engine>, epoch: u64, owner: Owner) -> Self {
        Self {
            engine,
            epoch,
            owner,
            is_finished: false,
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The task has come to its end.
    pub(crate) fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for TaskEnd {
    fn drop(&mut self) {
        let Self { epoch, .. } = *self;
        let cause = match (self.is_finished, std::thread::panicking()) {
            (true, _) => None,
            (false, true) => Some(LossCause::Session),
            (false, false) => Some(LossCause::Runtime),
        };
        self.engine.with(|shared, now, effects| {
            if cause == Some(LossCause::Runtime) {
                shared.runtime_ended(epoch, now, effects);
            }
            match self.owner {
                Owner::Keeper => {
                    if cause.is_some() {
                        shared.tasks.keeper_ended();
                    }
                }
                Owner::Session(session) => {
                    if cause.is_some() {
                        let error = SessionError::ended(PANICKED).of(Phase::Acquire);
                        shared.handle(Event::SessionLost { session, error }, now, effects);
                    }
                    shared.tasks.forget(session);
                    let abandoned = shared.inline_locks.take_abandoned(session);
                    effects.extend(abandoned.into_iter().map(Effect::Close));
                }
                Owner::Own(id) => shared.end_own(id, cause),
            }
        });
        if !matches!(self.owner, Owner::Keeper) {
            // After the locks of the session were closed.
            self.engine.with(|shared, _, _| shared.tasks.ended(epoch));
        }
        self.engine.task_ended.notify_waiters();
    }
}

const PANICKED: &str = "BUG: the task of a lock session panicked";
