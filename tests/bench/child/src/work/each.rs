//! Tasks of which each has to get its lock so many times, however long that takes: one that takes it again and again is not fast while the others wait.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::{Histogram, Lock, Outcome, Result, Sample, Subject, signal};

/// So many times.
const TIMES: usize = 10;

pub(super) async fn each<S: Subject>(sample: &Sample, subject: S) -> Result<Outcome> {
    let mut locks = Vec::new();
    for task in 0..sample.tasks {
        let mut lock = subject.lock(sample.key(task)).await?;
        let held = lock.acquire().await?;
        lock.release(held).await?;
        locks.push(lock);
    }
    signal::ready().await?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut lock in locks {
        tasks.spawn(async move {
            let mut latency = Histogram::default();
            for _ in 0..TIMES {
                let before = Instant::now();
                let held = lock.acquire().await?;
                lock.release(held).await?;
                latency.record(before.elapsed().as_nanos() as u64);
            }
            Ok(latency)
        });
    }
    let mut outcome = Outcome {
        served: sample.tasks,
        ..Outcome::default()
    };
    while let Some(done) = tasks.join_next().await {
        let latency: Result<_> = done?;
        outcome.latency.merge(&latency?);
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    outcome.operations = outcome.latency.len();
    Ok(outcome)
}
