//! Warnings of long waits.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::field::display;

use crate::error::HeldBy;
use crate::key::Key;
use crate::wait::Wait;

/// A wait that lasts this long is worth a line in the log; another one when twice as much time has
/// passed since, and so on.
pub(super) const LONG_WAIT: Duration = Duration::from_secs(10);

/// When a wait that began then is worth the next line.
pub(super) fn next_warning(since: Instant, now: Instant) -> Instant {
    let (mut pause, mut at) = (LONG_WAIT, since + LONG_WAIT);
    while at <= now {
        pause *= 2;
        at += pause;
    }
    at
}

/// Lines in the log when it takes long.
pub(crate) async fn warned<T>(
    mut waiting: Pin<&mut impl Future<Output = T>>,
    name: &Key,
    wait: Wait,
    held_by: impl Fn() -> Option<HeldBy>,
) -> T {
    loop {
        let next = next_warning(wait.since, Instant::now());
        if let Ok(answer) = timeout_at(next, &mut waiting).await {
            return answer;
        }
        warn(name, wait.since.elapsed(), held_by().as_ref());
    }
}

pub(super) fn warn(key: &Key, waited: Duration, held_by: Option<&HeldBy>) {
    let held_by = held_by.map(display);
    tracing::warn!(%key, ?waited, held_by, "dlock: still waiting for a lock");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warnings_come_after_pauses_that_double() {
        let since = Instant::now();
        let mut now = since;
        for seconds in [10, 30, 70, 150, 310] {
            now = next_warning(since, now);
            assert_eq!((now - since).as_secs(), seconds);
        }
        // A late look gets the next one, and none twice.
        let late = since + LONG_WAIT * 2;
        assert_eq!(next_warning(since, late) - since, LONG_WAIT * 3);
    }
}
