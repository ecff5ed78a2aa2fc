//! When the log is told of a wait that takes long.

use tokio::time::Instant;

use crate::pool::{LONG_WAIT, next_warning};

#[tokio::test(start_paused = true)]
async fn warnings_come_after_pauses_that_double() {
    let since = Instant::now();
    let mut now = since;
    for seconds in [10, 30, 70, 150, 310] {
        now = next_warning(since, now);
        assert_eq!((now - since).as_secs(), seconds);
    }
    // One that asks late gets the next one, and none twice.
    let late = since + LONG_WAIT * 2;
    assert_eq!(next_warning(since, late) - since, LONG_WAIT * 3);
}
