//! Locks that end with the caller's transaction.

use std::time::Duration;

use super::rules::LockRules;
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// Locks that end with the caller's transaction. The statements take no parameters: behind a
/// transaction pooler a statement that SeaORM prepares can meet one of the same name on a server
/// session that others have used. So the answer is a number of rows.
pub(crate) trait TransactionLocks: Send + Sync {
    /// The keys and modes of the database.
    fn rules(&self) -> &'static LockRules;

    /// One row: the `database` that the transaction is in.
    fn database(&self) -> String;

    /// The lock's name on the server.
    fn physical_key(&self, key: &KeyRepr) -> Result<PhysicalKey, Error>;

    /// As many rows as [`TransactionOutcome::rows`] says.
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> String;

    /// One row where [`wait`](Self::wait) works.
    fn can_wait(&self) -> String;

    /// Waits in the server for at most `slice`, leaves the transaction usable and its settings as
    /// they were. As many rows as [`TransactionOutcome::rows`] says.
    fn wait(
        &self,
        key: &PhysicalKey,
        mode: Mode,
        slice: Duration,
        deadlocks: DeadlockCheck,
    ) -> String;
}

/// Whether a wait is to last until the server has looked for deadlocks. The wait that follows need
/// not: a transaction that closes a cycle later looks for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadlockCheck {
    Wanted,
    Unwanted,
}

/// How a try or a wait inside a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionOutcome {
    Busy,
    Granted,
    Deadlock,
    /// Nothing was locked: the transaction runs on a hot standby.
    Standby,
}

impl TransactionOutcome {
    pub(crate) const ALL: [Self; 4] = [Self::Busy, Self::Granted, Self::Deadlock, Self::Standby];

    /// As [`TransactionLocks`] answers.
    pub(crate) fn rows(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_rows(rows: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.rows() == rows)
    }
}
