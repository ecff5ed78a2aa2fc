//! How long this process has been kept from a key by others, and what follows from that.

use std::time::Duration;

use crate::engine::machine::backoff::Turn;
use crate::engine::machine::event::Time;
use crate::server_lock::Holder;

/// For this long after its grant a lock may pass from one local holder to the next. It is a
/// fraction of what people notice, and many times what the server takes.
const FULL_TURN: Duration = Duration::from_millis(20);

/// After a wait of up to this long a turn is not cut.
const FULL_TURN_AFTER: Duration = Duration::from_millis(100);

/// After so many slices of a wait, which are some 1.3 s, the server is asked who holds the lock.
const LOOK_AFTER: u32 = 2;

/// After so long it is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(8);

/// A holder that was seen so long ago is not reported any more.
const BLOCKER_IS_OLD: Duration = Duration::from_secs(30);

/// All of it since the last grant.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    /// Retries.
    attempt: u32,
    /// When the server refused it first.
    since: Option<Time>,
    /// Slices of waits that have ended.
    slices: u32,
    /// Its place in the line for a session to wait on: kept until it had a wait.
    turn: Option<Turn>,
    /// The last answer about who holds it, and when it came.
    blocker: Option<(Option<Holder>, Time)>,
}

impl Contention {
    /// The next retry is put off for longer. Returns how many there have been.
    pub(crate) fn next_attempt(&mut self, now: Time) -> u32 {
        self.since.get_or_insert(now);
        self.attempt = self.attempt.saturating_add(1);
        self.attempt - 1
    }

    /// For how long a grant of now may pass from holder to holder. The longer this process has
    /// waited, the more others wait, and the shorter is its turn: so the wait grows with the square
    /// root of their number.
    pub(super) fn turn_of_grant(&self, now: Time) -> Duration {
        let since = self.since.unwrap_or(now);
        let waited = now.saturating_sub(since).max(FULL_TURN_AFTER);
        FULL_TURN.mul_f64(FULL_TURN_AFTER.as_secs_f64() / waited.as_secs_f64())
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A slice of a wait has ended without a grant: to the end of the line.
    pub(crate) fn end_slice(&mut self) {
        self.slices = self.slices.saturating_add(1);
        self.turn = None;
    }

    pub(crate) fn slices(&self) -> u32 {
        self.slices
    }

    pub(crate) fn turn_or(&mut self, turn: impl FnOnce() -> Turn) -> Turn {
        *self.turn.get_or_insert_with(turn)
    }

    /// Whether the server is to be asked who holds it: a wait has lasted for a while, and the last
    /// answer is old.
    pub(crate) fn wants_blocker(&self, now: Time) -> bool {
        let is_old = |at| now.saturating_sub(at) >= LOOK_AGAIN;
        let last = self.blocker.as_ref().map(|(_, at)| *at);
        self.slices >= LOOK_AFTER && last.is_none_or(is_old)
    }

    pub(super) fn set_blocker(&mut self, holder: Option<Holder>, now: Time) {
        self.blocker = Some((holder, now));
    }

    /// The holder, by the last answer of the server.
    pub(super) fn blocker(&self, now: Time) -> Option<Holder> {
        let (holder, at) = self.blocker.as_ref()?;
        let is_recent = now.saturating_sub(*at) < BLOCKER_IS_OLD;
        holder.clone().filter(|_| is_recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_shorter_after_a_longer_wait() {
        let mut contention = Contention::default();
        assert_eq!(contention.turn_of_grant(Time::ZERO), FULL_TURN);
        contention.next_attempt(Time::ZERO);
        for (waited, turn) in [(0, 20.0), (100, 20.0), (400, 5.0), (2000, 1.0)] {
            let found = contention.turn_of_grant(Duration::from_millis(waited));
            let found = found.as_secs_f64() * 1000.0;
            assert!((found - turn).abs() < 0.001, "{found} ms after {waited} ms");
        }
    }
}
