//! The times of the warnings of a long wait.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::fake::Server;
use super::{config, exclusive, exclusive_later};
use crate::key::PhysicalKey;

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

#[tokio::test(start_paused = true)]
async fn each_warning_is_given_and_the_next_one_is_due_later() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = exclusive(&there, 1).await;
    let waiter = exclusive_later(&here, 1);
    let begun = Instant::now();
    for (seconds, next) in [(5, 10), (15, 30), (35, 70), (75, 150)] {
        sleep_until(begun + Duration::from_secs(seconds)).await;
        let core = &here.owner().unwrap().core;
        let due = core.with(|state, _| {
            let waiter = state.keys[&PhysicalKey::Int(1)].waiters.front();
            waiter.expect("it waits").next_warning
        });
        let due = due.expect("the pool warns").duration_since(begun);
        assert_eq!(due.as_secs(), next, "after {seconds} s");
    }
    drop(held);
    assert!(waiter.await.unwrap().is_held());
}
