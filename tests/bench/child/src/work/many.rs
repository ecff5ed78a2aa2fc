//! Many locks at a time.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{Lock, Outcome, Result, Sample, Subject, signal};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// So many are held while a further lock is taken again and again. The last number is that of the tasks.
const FEWER: [usize; 2] = [10, 1_000];

type Guards<L> = Vec<(L, <L as Lock>::Held)>;

pub(super) async fn many<S: Subject>(sample: &Sample, subject: S) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut further = subject.lock(format!("{}/further", sample.prefix)).await?;
    signal::ready().await?;
    for locks in FEWER {
        let (_, guards) = acquire(sample, &subject, locks).await?;
        let name = format!("cycle with {locks} held");
        let time;
        (time, further) = spawned(sample, further).await?;
        outcome.times.insert(name, time);
        release(guards).await?;
    }
    let (time, guards) = acquire(sample, &subject, sample.tasks).await?;
    let name = format!("{} acquired", sample.tasks);
    outcome.times.insert(name, time.as_secs_f64());
    let name = format!("cycle with {} held", sample.tasks);
    let (time, _) = spawned(sample, further).await?;
    outcome.times.insert(name, time);
    release(guards).await?;
    Ok(outcome)
}

/// Each by a task of its own.
async fn acquire<S: Subject>(
    sample: &Sample,
    subject: &S,
    count: usize,
) -> Result<(Duration, Guards<S::Lock>)> {
    let mut locks = Vec::with_capacity(count);
    for lock in 0..count {
        locks.push(
            subject
                .lock(format!("{}/many/{lock}", sample.prefix))
                .await?,
        );
    }
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for mut lock in locks {
        tasks.spawn(async move {
            let held = lock.acquire().await?;
            Ok::<_, Error>((lock, held))
        });
    }
    let guards = tasks.join_all().await;
    let time = start.elapsed();
    Ok((time, guards.into_iter().collect::<Result<_>>()?))
}

async fn release<L: Lock>(guards: Guards<L>) -> Result<()> {
    let mut tasks = JoinSet::new();
    for (mut lock, held) in guards {
        tasks.spawn(async move { lock.release(held).await });
    }
    tasks.join_all().await.into_iter().collect()
}

/// In a task, like all other work: outside of the runtime's threads each cycle would pay for a switch to them and back.
async fn spawned<L: Lock>(sample: &Sample, mut lock: L) -> Result<(f64, L)> {
    let phases = [sample.warm_up(), sample.seconds() / 2];
    let cycles = tokio::spawn(async move {
        let time = cycle(phases, &mut lock).await?;
        Ok::<_, Error>((time, lock))
    });
    cycles.await?
}

/// Seconds for each in the last phase; those before warm up.
async fn cycle<L: Lock>(phases: [Duration; 2], lock: &mut L) -> Result<f64> {
    let mut time = 0.0;
    for seconds in phases {
        let start = Instant::now();
        let mut cycles = 0;
        while start.elapsed() < seconds || cycles == 0 {
            let held = lock.acquire().await?;
            lock.release(held).await?;
            cycles += 1;
        }
        time = start.elapsed().as_secs_f64() / f64::from(cycles);
    }
    Ok(time)
}
