//! What a session is asked in one round trip, and its answers.

use std::time::Duration;

use sea_orm::DbErr;

use crate::key::PhysicalKey;
use crate::mode::Mode;

/// A batch has at most this many releases and at most this many tries, so that no request waits
/// for much more than its own round trip.
pub(crate) const MAX_BATCH: usize = 256;

/// The longest slice of a wait.
pub(crate) const LONGEST_SLICE: Duration = Duration::from_secs(2);

/// A lock, as a session acquires or releases it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) key: PhysicalKey,
    pub(crate) mode: Mode,
}

/// The requests of one round trip: first the releases, then the tries.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) releases: Vec<Request>,
    pub(crate) tries: Vec<Request>,
}

impl Batch {
    pub(crate) fn of_releases(releases: Vec<Request>) -> Self {
        Self {
            releases,
            ..Self::default()
        }
    }

    pub(crate) fn of_one_try(request: &Request) -> Self {
        Self {
            tries: vec![request.clone()],
            ..Self::default()
        }
    }

    pub(crate) fn clear(&mut self) {
        self.releases.clear();
        self.tries.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.releases.is_empty() && self.tries.is_empty()
    }
}

/// The answers to a [`Batch`], in its order.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) releases: Vec<Answer>,
    pub(crate) tries: Vec<Answer>,
}

/// The server's answer to one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The lock was acquired, or released.
    Yes,
    /// Another session holds it; a release: it was not held.
    No,
    /// The server ended the wait: it would have closed a cycle.
    #[allow(
        dead_code,
        reason = "a build can have only servers that see no cycle of sessions"
    )]
    Deadlock,
    /// The server refused this request and changed nothing for it.
    Failed(DbErr),
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}
