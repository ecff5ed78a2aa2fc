//! Tasks that do the same again and again.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use crate::{Histogram, Lock, Outcome, Result, Sample, Subject, Work, signal};

/// Cycles, with or without waiting for the release, or tries of a lock that another process has.
pub(super) async fn repeat<S: Subject>(sample: &Sample, subject: S) -> Result<Outcome> {
    let warm = Arc::new(Barrier::new(sample.tasks + 1));
    let (start, started) = watch::channel(None);
    let mut locks = Vec::new();
    for task in 0..sample.tasks {
        locks.push(subject.lock(sample.key(task)).await?);
    }
    let warm_until = Instant::now() + sample.warm_up();
    let mut tasks = JoinSet::new();
    for mut lock in locks {
        let (work, warm, mut started) = (sample.work, Arc::clone(&warm), started.clone());
        tasks.spawn(async move {
            let warmed = until(warm_until, &mut lock, work).await;
            warm.wait().await;
            warmed?;
            let end = *started.wait_for(Option::is_some).await?;
            until(end.expect("BUG: waited for it"), &mut lock, work).await
        });
    }
    warm.wait().await;
    signal::ready().await?;
    let grants = subject.grants();
    start.send_replace(Some(Instant::now() + sample.seconds()));
    let mut outcome = Outcome {
        seconds: sample.seconds,
        ..Outcome::default()
    };
    while let Some(done) = tasks.join_next().await {
        let latency = done??;
        outcome.served += usize::from(!latency.is_empty());
        outcome.latency.merge(&latency);
    }
    outcome.operations = outcome.latency.len();
    let grants = subject.grants().zip(grants);
    outcome.grants = grants.map(|(after, before)| after - before);
    Ok(outcome)
}

/// How long each took that ended in time.
async fn until<L: Lock>(end: Instant, lock: &mut L, work: Work) -> Result<Histogram> {
    let mut latency = Histogram::default();
    let mut before = Instant::now();
    while before < end {
        match work {
            Work::Try => try_once(lock).await?,
            Work::Drop => drop(lock.acquire().await?),
            _ => {
                let held = lock.acquire().await?;
                lock.release(held).await?;
            }
        }
        let now = Instant::now();
        if now <= end {
            latency.record((now - before).as_nanos() as u64);
        }
        before = now;
    }
    Ok(latency)
}

async fn try_once<L: Lock>(lock: &mut L) -> Result<()> {
    match lock.try_acquire().await? {
        None => Ok(()),
        Some(_) => Err("the lock should have been taken".into()),
    }
}
