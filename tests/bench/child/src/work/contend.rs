//! Processes that contend for one key with a few tasks each: how long they wait, and how evenly the
//! server serves them.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::{Histogram, Lock, Outcome, Result, Sample, Subject, signal};

/// How long each task holds the lock.
const HELD: Duration = Duration::from_millis(1);

/// The waits of a task.
#[derive(Default)]
struct Waits {
    latency: Histogram,
    longest: Duration,
}

pub(super) async fn contend<S: Subject>(sample: &Sample, subject: S) -> Result<Outcome> {
    let mut locks = Vec::new();
    for task in 0..sample.tasks {
        let mut lock = subject.lock(sample.key(task)).await?;
        let held = lock.acquire().await?;
        lock.release(held).await?;
        locks.push(lock);
    }
    let start = signal::ready().await?;
    let measured = start + sample.warm_up();
    let end = measured + sample.seconds();
    let mut tasks = JoinSet::new();
    for mut lock in locks {
        tasks.spawn(async move {
            sleep_until(start.into()).await;
            wait_again_and_again(&mut lock, measured, end).await
        });
    }
    let mut outcome = Outcome {
        seconds: sample.seconds,
        ..Outcome::default()
    };
    let mut longest = Duration::ZERO;
    while let Some(done) = tasks.join_next().await {
        let waits: Waits = done??;
        outcome.served += usize::from(!waits.latency.is_empty());
        outcome.latency.merge(&waits.latency);
        longest = longest.max(waits.longest);
    }
    outcome.operations = outcome.latency.len();
    let longest = ("longest wait".to_owned(), longest.as_secs_f64());
    outcome.times.extend([longest]);
    Ok(outcome)
}

/// Records the grants from `measured` to `end`.
///
/// The longest wait includes the one that is open at the end, so that a starved task shows.
async fn wait_again_and_again<L: Lock>(
    lock: &mut L,
    measured: Instant,
    end: Instant,
) -> Result<Waits> {
    let mut waits = Waits::default();
    loop {
        let asked = Instant::now();
        if asked >= end {
            return Ok(waits);
        }
        let held = lock.acquire().await?;
        let acquired = Instant::now();
        let wait = acquired - asked;
        if acquired >= measured {
            waits.longest = waits.longest.max(wait);
            if acquired < end {
                waits.latency.record(wait.as_nanos() as u64);
            }
        }
        sleep(HELD).await;
        lock.release(held).await?;
    }
}
