//! The clock of a task that sets a deadline for all that it does and hardly ever reaches one.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::backend::SessionError;

/// A timer that is set again and again, mostly to later than it is set already. That costs next to
/// nothing: it goes off early, once, and is moved then.
#[derive(Debug)]
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    pub(super) fn new() -> Self {
        Self(Box::pin(sleep(Duration::ZERO)))
    }

    /// Cancel safe.
    pub(super) async fn until(&mut self, deadline: Instant) {
        poll_fn(|context| self.poll_until(deadline, context)).await;
    }

    fn poll_until(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
        loop {
            ready!(self.0.as_mut().poll(context));
            if self.0.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
    }
}

/// A server that does not answer in time may be cut off: the session is given up.
pub(crate) async fn within<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    in_time(&mut Alarm::new(), limit, statement).await
}

/// [`within`], for a task that does it often.
pub(super) async fn in_time<T>(
    alarm: &mut Alarm,
    limit: Duration,
    statement: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let deadline = Instant::now() + limit.min(A_YEAR);
    tokio::select! {
        biased;
        answer = statement => answer,
        () = alarm.until(deadline) => Err(SessionError::silent(limit)),
    }
}

/// A clock cannot hold every duration that a setting can.
pub(super) const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_at_the_last_deadline_that_it_was_set_to_whether_earlier_or_later() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut alarm = Alarm::new();
        for deadline in [10 * second, 20 * second, 5 * second] {
            let early = timeout(second, alarm.until(start + deadline)).await;
            assert!(early.is_err(), "{deadline:?}");
        }
        alarm.until(start + 7 * second).await;
        assert_eq!(start.elapsed().as_secs(), 7);
        alarm.until(start + 6 * second).await;
        assert_eq!(start.elapsed().as_secs(), 7);
    }
}
