//! The pool's own task: ticks when a timer of the machine is due, warns of long waits, and closes
//! the pool when the application closes its connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::Engine;
use super::task_end::TaskEnd;
use super::warnings::{LONG_WAIT, warn};
use crate::engine::machine::Event;

/// Many long waits are looked at together.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

pub(super) async fn run(end: TaskEnd) {
    let engine = end.engine();
    tokio::select! {
        () = application_closed(engine) => engine.begin_close(),
        () = engine.signals.closing() => {}
        () = keep(engine) => {}
    }
    engine.drained().await;
    end.finish();
}

async fn application_closed(engine: &Engine) {
    match &engine.application_closed {
        Some(closed) => closed.lock().await.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn keep(engine: &Arc<Engine>) {
    let mut next_look = Instant::now() + LONG_WAIT;
    loop {
        let timer = engine.instant(engine.with(|shared, _, _| shared.plan()));
        tokio::select! {
            biased;
            () = engine.wake_keeper.notified() => continue,
            () = sleep_until(timer.min(next_look)) => {}
        }
        engine.report(Event::Tick);
        if next_look <= Instant::now() {
            next_look = warn_of_long_waits(engine).await;
        }
    }
}

/// A few callers at a time, so that no other change of the state waits for long. Returns when the
/// next warning may be due.
async fn warn_of_long_waits(engine: &Arc<Engine>) -> Instant {
    let mut next = Instant::now() + LONG_WAIT;
    let mut from = 0;
    loop {
        let (seen, due) = engine.with(|shared, now, _| {
            let mut due = Vec::new();
            let seen = shared.long_waits(from, Instant::now(), |request| {
                due.push((request.key.clone(), request.mode, request.since));
            });
            let due = due.into_iter().map(|(key, mode, since)| {
                let name = shared.machine.name(&key).cloned();
                (name, since, shared.held_by(&key, mode, now))
            });
            (seen, due.collect::<Vec<_>>())
        });
        for (name, since, held_by) in due {
            if let Some(name) = name {
                warn(&name, since.elapsed(), held_by.as_ref());
            }
        }
        next = next.min(seen.next);
        match seen.go_on {
            Some(slot) => from = slot,
            None => return next.max(Instant::now() + BETWEEN_LOOKS),
        }
        yield_now().await;
        // What has become due meanwhile.
        engine.report(Event::Tick);
    }
}
