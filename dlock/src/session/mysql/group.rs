//! A member of a MySQL replication group: whether the group still decides together with it. A
//! primary that is cut off from the others keeps granting locks, and about 20 s later the others
//! elect another primary.

use std::time::Duration;

use sea_orm::sqlx::{self, Row};
use tokio::time::Instant;

use super::MySqlSession;
use crate::dialect::mysql as dialect;
use crate::error::Error;

/// How long the last decision of a group may lie back, beside the pause between two of them.
const GRACE: Duration = Duration::from_secs(4);

/// An answer about the group is good for this long.
const FRESH: Duration = Duration::from_secs(1);

/// What a session remembers of its group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// An idle group decides something once in this time:
    /// `group_replication_flow_control_period`.
    period: Duration,
    last_look: Instant,
}

/// What the server says of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consensus {
    /// The last decision lies so far back.
    Reached(Duration),
    /// The plugin is loaded, and the member has never been in a group.
    Never,
    /// Before MySQL 8.1.
    NotShown,
}

const NOT_STARTED: Error = Error::refused(
    "a MySQL server that is configured for a group (group_replication_group_name) and has not joined it",
    "the primary of the group",
    "run START GROUP_REPLICATION there, or connect to the primary of the group",
);

const NO_MAJORITY: Error = Error::refused(
    "a member of a MySQL group that has lost its majority",
    "the primary of the group's majority",
    "connect to the primary of the majority, or repair the network between the members",
);

impl Group {
    pub(super) fn new(period: Duration) -> Self {
        Self {
            period,
            last_look: Instant::now(),
        }
    }

    fn refusal(&self, consensus: Consensus) -> Option<Error> {
        match consensus {
            Consensus::Never => Some(NOT_STARTED),
            Consensus::Reached(age) if age > self.period + GRACE => Some(NO_MAJORITY),
            Consensus::Reached(_) | Consensus::NotShown => None,
        }
    }
}

impl MySqlSession {
    /// Why the server's locks count no more, if it is in a group. Looks once a second at most.
    pub(super) async fn group_refusal(&mut self) -> Result<Option<Error>, sqlx::Error> {
        match self.group {
            Some(group) if group.last_look.elapsed() >= FRESH => self.look_at_group(group).await,
            _ => Ok(None),
        }
    }

    pub(super) async fn look_at_group(
        &mut self,
        group: Group,
    ) -> Result<Option<Error>, sqlx::Error> {
        let consensus = match self
            .optional_row_at_last(dialect::CONSENSUS.to_owned())
            .await?
        {
            None => Consensus::NotShown,
            Some(row) => match row.try_get::<Option<i64>, _>(0)? {
                None => Consensus::Never,
                Some(micros) => {
                    Consensus::Reached(Duration::from_micros(micros.max(0).unsigned_abs()))
                }
            },
        };
        self.group = Some(Group {
            last_look: Instant::now(),
            ..group
        });
        Ok(group.refusal(consensus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_group_is_trusted_for_its_period_and_the_grace() {
        let group = Group::new(Duration::from_secs(1));
        let refused = |consensus| group.refusal(consensus).is_some();
        assert!(!refused(Consensus::Reached(Duration::from_secs(5))));
        assert!(refused(Consensus::Reached(Duration::from_millis(5001))));
        assert!(refused(Consensus::Never));
        assert!(!refused(Consensus::NotShown));
        let slow = Group::new(Duration::from_secs(10));
        let refusal = slow.refusal(Consensus::Reached(Duration::from_secs(13)));
        assert!(refusal.is_none());
    }
}
