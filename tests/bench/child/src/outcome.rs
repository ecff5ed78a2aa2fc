//! What a child reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Histogram;

/// What came out of a sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Cycles, or tries, that were done.
    pub operations: u64,
    /// Within so many seconds.
    pub seconds: f64,
    /// By so many of the tasks.
    pub served: usize,
    /// How long each of them took.
    pub latency: Histogram,
    /// Grants of the server among them, where the subject counts these.
    pub grants: Option<u64>,
    /// Work `HandOver`: when it was held.
    pub turns: Vec<Turn>,
    /// Works `Contend` and `Many`: seconds, by what they were spent on.
    pub times: BTreeMap<String, f64>,
}

/// When a process held the lock, in nanoseconds of the system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// `acquire` has returned.
    pub acquired: u64,
    /// `release` is about to be called.
    pub released: u64,
}
