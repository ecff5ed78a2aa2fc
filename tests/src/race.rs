//! Many applications that acquire one exclusive key at the same time: whether ever two were inside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dlock::Error;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{Db, Way};

/// How long an application stays inside.
const INSIDE: Duration = Duration::from_millis(1);

/// An acquisition that times out is tried so many times.
const ATTEMPTS: usize = 5;

/// The result of a [`race`].
#[derive(Debug, Default)]
pub struct Race {
    /// Acquisitions that were granted.
    pub granted: usize,
    /// Those of them that were granted while another holder was inside.
    pub overlaps: usize,
    /// At most one per application: its part ended with it.
    pub refused: Vec<Error>,
    /// Other errors of acquisitions and releases, with the timeouts of rounds that were given up.
    pub failed: Vec<Error>,
}

impl Race {
    /// Asserts that no two holders were inside together.
    ///
    /// # Panics
    ///
    /// When there was an overlap.
    #[track_caller]
    pub fn assert_exclusive(&self) {
        assert!(self.overlaps == 0, "the lock is not exclusive: {self}");
    }

    fn add(&mut self, other: Self) {
        self.granted += other.granted;
        self.overlaps += other.overlaps;
        self.refused.extend(other.refused);
        self.failed.extend(other.failed);
    }
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} granted acquisitions entered while another holder was inside; \
             {} applications were refused, {} rounds failed",
            self.overlaps,
            self.granted,
            self.refused.len(),
            self.failed.len()
        )?;
        for error in self.refused.first().iter().chain(&self.failed.first()) {
            write!(f, "; for example: {error}")?;
        }
        Ok(())
    }
}

/// Each application acquires the key `rounds` times in its own task, and stays inside for 1 ms.
///
/// `timeout` is that of one attempt. [`Error::Refused`] ends the application's part. After any
/// other error it goes on with its next round.
///
/// # Panics
///
/// When one of the tasks panics.
pub async fn race<D: Db>(
    applications: Vec<D>,
    key: i64,
    way: Way,
    rounds: usize,
    timeout: Duration,
) -> Race {
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for db in applications {
        let inside = Arc::clone(&inside);
        tasks.spawn(async move {
            let contender = Contender {
                db,
                key,
                way,
                timeout,
                inside,
            };
            contender.take_part(rounds).await
        });
    }
    let mut race = Race::default();
    for part in tasks.join_all().await {
        race.add(part);
    }
    race
}

struct Contender<D> {
    db: D,
    key: i64,
    way: Way,
    timeout: Duration,
    inside: Arc<AtomicUsize>,
}

impl<D: Db> Contender<D> {
    async fn take_part(&self, rounds: usize) -> Race {
        let mut part = Race::default();
        for _ in 0..rounds {
            match self.round(&mut part).await {
                Ok(()) => {}
                Err(error @ Error::Refused { .. }) => {
                    part.refused.push(error);
                    break;
                }
                Err(error) => part.failed.push(error),
            }
        }
        part
    }

    async fn round(&self, part: &mut Race) -> Result<(), Error> {
        let mut attempts = 0;
        let held = loop {
            attempts += 1;
            match self.way.acquire(&self.db, self.key, self.timeout).await {
                Err(Error::Timeout { .. }) if attempts < ATTEMPTS => {}
                result => break result?,
            }
        };
        part.granted += 1;
        if self.inside.fetch_add(1, Ordering::SeqCst) > 0 {
            part.overlaps += 1;
        }
        sleep(INSIDE).await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        held.release().await
    }
}
