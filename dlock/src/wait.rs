//! How long a request may take, end to end.

use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// When a request was made, and when it gives up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) since: Instant,
    pub(crate) deadline: Option<Instant>,
    /// Takes no for an answer.
    pub(crate) one_try: bool,
    /// Whoever asked tells the log himself what becomes of it.
    pub(crate) quiet: bool,
}

impl Wait {
    /// Starts now. No timeout waits forever, as does one beyond what a clock can hold; zero means one try.
    pub(crate) fn start(timeout: Option<Duration>) -> Self {
        let since = Instant::now();
        let one_try = timeout == Some(Duration::ZERO);
        let timeout = timeout.filter(|_| !one_try);
        Self {
            since,
            deadline: timeout.and_then(|timeout| since.checked_add(timeout)),
            one_try,
            quiet: false,
        }
    }

    /// One try, starting now, that may take as long as `timeout`.
    pub(crate) fn once(timeout: Option<Duration>) -> Self {
        Self {
            one_try: true,
            ..Self::start(timeout)
        }
    }

    /// Gives up at the deadline.
    pub(crate) async fn bound<T>(&self, coming: impl Future<Output = T>) -> Result<T, Elapsed> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline, coming).await,
            None => Ok(coming.await),
        }
    }

    /// What is left until the deadline; `None` when there is none.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let now = Instant::now();
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(now))
    }
}
