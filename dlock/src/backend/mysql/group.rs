//! A member of a MySQL replication group: whether the group still decides together with it. A
//! primary that is cut off from the others keeps granting locks, and about 20 s later the others
//! elect another primary.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// The longest time since the last decision of a group, beside the pause between two of them.
const GRACE: Duration = Duration::from_secs(4);

/// The longest pause between two decisions of an idle group: with more, another primary could be
/// elected before the silence of the group is noticed.
const LONGEST_PERIOD: Duration = Duration::from_secs(10);

/// The last look of a session at its group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) looked: Instant,
    /// The time of the group's last decision, as the server writes it.
    decided: Option<String>,
    /// When this session saw that time change.
    changed: Instant,
}

/// The server's answer about its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Consensus {
    Reached {
        decided: String,
        /// By the server's clock.
        age: Duration,
        /// Between two decisions of an idle group.
        period: Duration,
    },
    /// The plugin is loaded, and the member is in no group.
    Never,
    /// Before MySQL 8.1.
    NotShown,
}

const NO_MAJORITY: Error = Error::refused(
    "a member of a MySQL group that has lost its majority",
    "the primary of the group's majority",
    "connect to the primary of the majority, or repair the network between the members",
);

const TOO_SLOW: Error = Error::refused(
    "a MySQL group with a group_replication_flow_control_period above 10 s",
    "a group that shows in time that it has lost its majority",
    "set group_replication_flow_control_period to 10 or less on all members",
);

impl Group {
    /// Takes note of an answer. Returns the error where the server's locks do not count.
    ///
    /// Between two looks that follow each other closely, time is that of this process: a step of
    /// the server's clock means nothing. After a pause only the server knows how old its time is.
    pub(super) fn note(
        last: Option<Self>,
        consensus: Consensus,
        now: Instant,
    ) -> (Self, Option<Error>) {
        let (decided, age, period) = match consensus {
            Consensus::Reached {
                decided,
                age,
                period,
            } => (Some(decided), age, period),
            Consensus::Never | Consensus::NotShown => (None, Duration::ZERO, Duration::ZERO),
        };
        let limit = period + GRACE;
        let (changed, is_silent) = match &last {
            Some(last) if now.duration_since(last.looked) <= limit => {
                let changed = match last.decided == decided {
                    true => last.changed,
                    false => now,
                };
                (changed, now.duration_since(changed) > limit)
            }
            _ => (now.checked_sub(age).unwrap_or(now), age > limit),
        };
        let refusal = match decided {
            Some(_) if period > LONGEST_PERIOD => Some(TOO_SLOW),
            Some(_) if is_silent => Some(NO_MAJORITY),
            _ => None,
        };
        let group = Self {
            looked: now,
            decided,
            changed,
        };
        (group, refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reached(decided: u32, age: Duration, period: Duration) -> Consensus {
        Consensus::Reached {
            decided: decided.to_string(),
            age,
            period,
        }
    }

    #[tokio::test]
    async fn a_group_that_stands_still_is_silent_after_its_period_and_the_grace() {
        let mut now = Instant::now();
        let (mut group, refusal) = Group::note(None, reached(0, Duration::ZERO, SECOND), now);
        assert!(refusal.is_none());
        for second in 1..=6 {
            now += SECOND;
            // The clock of the server is an hour wrong from now on.
            let (next, refusal) = Group::note(Some(group), reached(0, 3600 * SECOND, SECOND), now);
            assert_eq!(refusal.is_some(), second > 5, "after {second} s");
            group = next;
        }
    }

    #[tokio::test]
    async fn a_group_that_decides_is_never_silent_whatever_the_clock_does() {
        let mut now = Instant::now();
        let mut last = None;
        for decided in 0..10 {
            let age = if decided == 0 {
                Duration::ZERO
            } else {
                3600 * SECOND
            };
            let (group, refusal) = Group::note(last, reached(decided, age, SECOND), now);
            assert!(refusal.is_none(), "{decided}");
            last = Some(group);
            now += SECOND;
        }
    }

    #[tokio::test]
    async fn after_a_pause_the_servers_clock_tells() {
        let now = Instant::now();
        let (group, _) = Group::note(None, reached(0, Duration::ZERO, SECOND), now);
        let later = now + 60 * SECOND;
        let cut_off = reached(1, 30 * SECOND, SECOND);
        let (_, refusal) = Group::note(Some(group), cut_off, later);
        assert!(refusal.is_some());
    }

    #[tokio::test]
    async fn a_group_that_decides_too_seldom_is_refused() {
        let now = Instant::now();
        for (period, is_refused) in [(10, false), (11, true)] {
            let consensus = reached(0, Duration::ZERO, period * SECOND);
            let (_, refusal) = Group::note(None, consensus, now);
            assert_eq!(refusal.is_some(), is_refused, "{period} s");
        }
    }
}
