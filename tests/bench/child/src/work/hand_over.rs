//! Two processes that take turns: each holds the lock long enough that the other waits for it on the server, and asks again only when the other has had the time to get it.

use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::{Lock, Outcome, Result, Sample, Subject, Turn, signal};

/// By how much at least the time that it is held exceeds the pause.
const WAITED_FOR: Duration = Duration::from_millis(2);

/// One task, like those of `#[tokio::main]` and its services.
pub(super) async fn hand_over<S: Subject>(sample: &Sample, subject: S) -> Result<Outcome> {
    let mut lock = subject.lock(sample.key(0)).await?;
    signal::ready().await?;
    let seconds = sample.seconds();
    let pause = Duration::from_millis(sample.pause);
    let turns: JoinHandle<Result<_>> = tokio::spawn(async move {
        let end = Instant::now() + seconds;
        let mut turns = Vec::new();
        while Instant::now() < end {
            let held = lock.acquire().await?;
            let acquired = nanoseconds()?;
            // So that the other's retries, if it has such, come at any time.
            sleep(pause.mul_f64(1.0 + fastrand::f64()) + WAITED_FOR).await;
            let released = nanoseconds()?;
            lock.release(held).await?;
            turns.push(Turn { acquired, released });
            sleep(pause).await;
        }
        Ok(turns)
    });
    Ok(Outcome {
        turns: turns.await??,
        ..Outcome::default()
    })
}

fn nanoseconds() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(now.as_nanos() as u64)
}
