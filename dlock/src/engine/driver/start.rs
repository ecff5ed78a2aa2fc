//! Starts the pool's tasks.

use std::sync::Arc;

use super::effects::{Start, Task};
use super::task_end::TaskEnd;
use super::{Engine, keeper, session};

impl Engine {
    /// A runtime that has ended drops a task before it starts, which its [`TaskEnd`] notices.
    pub(super) fn start(self: &Arc<Self>, start: Start) {
        let Start {
            runtime,
            epoch,
            what,
        } = start;
        let engine = Arc::clone(self);
        match what {
            Task::Keeper => {
                let end = TaskEnd::of_keeper(engine, epoch);
                drop(runtime.spawn(keeper::run(end)));
            }
            Task::Session(id, signals) => {
                let end = TaskEnd::of_session(engine, epoch, id);
                drop(runtime.spawn(session::run(id, signals, end)));
            }
        }
    }
}
