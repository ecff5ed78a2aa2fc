//! What the tasks of a child do, for any lock.

mod contend;
mod each;
mod hand_over;
mod many;
mod repeat;

use crate::{Lock, Outcome, Result, Sample, Subject, Work, signal};

/// Does what the sample says.
///
/// # Errors
///
/// The first of the lock's.
pub async fn measure<S: Subject>(sample: &Sample, subject: S) -> Result<Outcome> {
    match sample.work {
        Work::Cycle | Work::Drop | Work::Try => repeat::repeat(sample, subject).await,
        Work::Each => each::each(sample, subject).await,
        Work::Contend => contend::contend(sample, subject).await,
        Work::Hold => hold(sample, subject).await,
        Work::HandOver => hand_over::hand_over(sample, subject).await,
        Work::Many => many::many(sample, subject).await,
    }
}

async fn hold<S: Subject>(sample: &Sample, subject: S) -> Result<Outcome> {
    let mut lock = subject.lock(sample.key(0)).await?;
    let held = lock.acquire().await?;
    signal::ready().await?;
    lock.release(held).await?;
    Ok(Outcome::default())
}
