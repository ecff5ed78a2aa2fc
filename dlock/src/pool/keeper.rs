//! The pool's own task: tries again what was put off, tells of long waits, and closes the pool when the application closes its connection.

use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::core::Core;
use super::{LongWait, tell_of_long_wait};
use crate::key::PhysicalKey;

/// So many keys are looked at without letting go of the state.
const AT_A_TIME: usize = 500;

pub(crate) async fn run(keeper: Keeper) {
    let core = &keeper.core;
    let mut closing = core.closing.subscribe();
    tokio::select! {
        () = application_closed(core) => core.begin_close(),
        _ = closing.wait_for(|closing| *closing) => {}
        () = retry(core) => {}
    }
    core.drained().await;
}

async fn application_closed(core: &Core) {
    match &core.application_closed {
        Some(closed) => closed.lock().await.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn retry(core: &Arc<Core>) {
    loop {
        let next = core.with(|state, _| state.next_look());
        let due = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                let keys = core.with(|state, now| {
                    state.retry(now);
                    state.due_for_long_waits(now)
                });
                tell_of_long_waits(core, &keys).await;
            }
            () = core.wake_keeper.notified() => {}
        }
    }
}

/// A few keys at a time, so that it is in nobody's way, with the retries that have become due in between.
async fn tell_of_long_waits(core: &Arc<Core>, keys: &[PhysicalKey]) {
    for keys in keys.chunks(AT_A_TIME) {
        let long = core.with(|state, now| {
            state.retry(now);
            state.long_waits(keys, now)
        });
        for LongWait {
            key,
            since,
            held_by,
        } in long
        {
            tell_of_long_wait(&key, since.elapsed(), held_by.as_ref());
        }
        yield_now().await;
    }
}

/// Dropped with the runtime, or when the pool is done.
pub(crate) struct Keeper {
    core: Arc<Core>,
    epoch: u64,
}

impl Keeper {
    pub(crate) fn new(core: Arc<Core>, epoch: u64) -> Self {
        Self { core, epoch }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.core.runtime_ended(self.epoch);
        self.core.task_ended.notify_waiters();
    }
}
