//! A session asks its server about the replication group.

use std::time::Duration;

use sea_orm::sqlx::{self, Row};
use tokio::time::Instant;

use super::group::{Consensus, Group};
use super::session::MySqlSession;
use super::statements;
use crate::error::Error;

/// An answer about the group is good for this long.
const FRESH: Duration = Duration::from_secs(1);

const NOT_STARTED: Error = Error::refused(
    "a MySQL server that is configured for a group (group_replication_group_name) and has not \
     joined it",
    "the primary of the group",
    "run START GROUP_REPLICATION there, or connect to the primary of the group",
);

impl MySqlSession {
    /// The error where the locks of the server's group do not count, if it is in one. Asks the
    /// server once a second at most.
    pub(super) async fn group_refusal(&mut self) -> Result<Option<Error>, sqlx::Error> {
        match &self.group {
            Some(group) if group.looked.elapsed() >= FRESH => self.meet_group().await,
            _ => Ok(None),
        }
    }

    /// The same for a server that is configured for a group.
    pub(super) async fn meet_group(&mut self) -> Result<Option<Error>, sqlx::Error> {
        let consensus = self.consensus().await?;
        if consensus == Consensus::Never {
            return Ok(Some(NOT_STARTED));
        }
        let (group, refusal) = Group::note(self.group.take(), consensus, Instant::now());
        self.group = Some(group);
        Ok(refusal)
    }

    async fn consensus(&mut self) -> Result<Consensus, sqlx::Error> {
        let row = self
            .optional_row_at_last(statements::CONSENSUS.to_owned())
            .await?;
        let Some(row) = row else {
            return self.consensus_not_shown().await;
        };
        let decided: Option<String> = row.try_get(0)?;
        let age: Option<i64> = row.try_get(1)?;
        let period: u64 = row.try_get(2)?;
        Ok(match (decided, age) {
            (Some(decided), Some(age)) => Consensus::Reached {
                decided,
                age: Duration::from_micros(age.max(0).unsigned_abs()),
                period: Duration::from_secs(period),
            },
            _ => Consensus::Never,
        })
    }

    async fn consensus_not_shown(&mut self) -> Result<Consensus, sqlx::Error> {
        let row = self
            .optional_row_at_last(statements::PRIMARY_MEMBER.to_owned())
            .await?;
        let primary: Option<Option<String>> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(match primary {
            Some(None) => Consensus::Never,
            Some(Some(_)) | None => Consensus::NotShown,
        })
    }
}
