//! What a child is told to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One sample; the argument of a child, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The lock to measure.
    pub subject: String,
    /// Its server.
    pub url: String,
    /// What to do with it.
    pub work: Work,
    /// How many tasks do it at a time.
    pub tasks: usize,
    /// On which keys.
    pub keys: Keys,
    /// What the keys begin with.
    pub prefix: String,
    /// How long.
    pub seconds: f64,
    /// How long to do the same before, unmeasured.
    pub warm_up: f64,
    /// The timeout of each wait, where there is one.
    pub timeout: Option<f64>,
    /// Work `HandOver`: milliseconds from a release to the next wait. It is held for once to twice as long, and 2 ms.
    pub pause: u64,
    /// How many sessions dlock may have, if not its default.
    pub max_sessions: Option<usize>,
    /// Whether it runs on the current-thread runtime.
    pub current_thread: bool,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Acquires and releases, again and again.
    Cycle,
    /// Acquires and drops the guard, again and again, without waiting for the release.
    Drop,
    /// Acquires and releases a number of times, however long that takes.
    Each,
    /// Tries a lock that another process has.
    Try,
    /// Has it, until it is told to end.
    Hold,
    /// Takes turns with another process.
    HandOver,
    /// Holds one key for 1 ms, again and again, as other processes do.
    Contend,
    /// Acquires many locks, and sees what a further one takes.
    Many,
}

/// On which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// Each task on its own.
    Own,
    /// All tasks on one.
    One,
}

impl Sample {
    /// The key of a task.
    pub fn key(&self, task: usize) -> String {
        match self.keys {
            Keys::Own => format!("{}/{task}", self.prefix),
            Keys::One => format!("{}/hot", self.prefix),
        }
    }

    /// How long each wait may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(Duration::from_secs_f64)
    }

    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }
}
