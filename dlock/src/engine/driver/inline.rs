//! Tries, proofs and releases of inline sessions are carried out by the thread that causes them,
//! outside of the mutex.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Engine;
use super::run::{Run, Work};
use crate::engine::machine::{Event, SessionId};

/// A thread does at most this much for others, then the session's task goes on with it.
const MAX_RUNS: usize = 32;

impl Engine {
    /// Does this, and what comes of it, as far as one thread does that much for others.
    pub(super) fn run(self: &Arc<Self>, runs: Vec<Run>) {
        let mut runs = VecDeque::from(runs);
        let mut left = MAX_RUNS;
        while let Some(Run { id, work }) = runs.pop_front() {
            let is_release = matches!(work, Work::Release(..));
            if left == 0 && !is_release {
                let deferred = Run { id, work };
                self.with(|shared, _, effects| shared.tasks.defer(deferred, effects));
                continue;
            }
            left = left.saturating_sub(1);
            let done = work.carry_out(id);
            runs.extend(self.with(|shared, now, effects| {
                shared.ran(done, now, effects);
                effects.take_runs()
            }));
        }
    }

    /// Goes on with what threads have left to this session's task.
    pub(super) fn run_deferred(self: &Arc<Self>, id: SessionId) {
        let runs = self.with(|shared, _, _| shared.tasks.take_deferred(id));
        if !runs.is_empty() {
            self.run(runs);
        }
    }

    /// Looks whether the locks of this session are still there. Returns those that are not.
    pub(super) fn lost_inline_locks(self: &Arc<Self>, id: SessionId) -> Vec<Event> {
        let locks = self.with(|shared, _, _| shared.inline_locks.of_session(id));
        let gone = locks.into_iter().filter(|(_, lock)| !lock.is_in_place());
        gone.map(|(grant, lock)| Event::GrantLost {
            grant,
            key: lock.key.clone(),
        })
        .collect()
    }
}
