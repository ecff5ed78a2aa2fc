//! A lock as the server sees it.

use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// A lock as the server sees it, whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServerLock {
    /// What this process calls it, when it holds or wants it too: a server that hashes keys cannot tell.
    pub name: Option<Key>,
    /// What the server calls it.
    pub key: PhysicalKey,
    /// How it is held or wanted.
    pub mode: Mode,
    /// Whether it is held; otherwise it is waited for. One that is held and waited for in a stronger mode is held.
    pub granted: bool,
    /// By whom.
    pub holder: Holder,
}

#[cfg(any(
    feature = "mysql",
    feature = "sqlite",
    feature = "mock",
    feature = "mssql",
    feature = "oracle"
))]
impl ServerLock {
    pub(crate) fn held(key: PhysicalKey, mode: Mode, holder: Holder) -> Self {
        Self {
            name: None,
            key,
            mode,
            granted: true,
            holder,
        }
    }
}

/// A session on the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Holder {
    /// The server's number for the session: on PostgreSQL its process id, as in `pg_stat_activity` and for `pg_terminate_backend`; on MySQL and MariaDB its
    /// connection id, as in `SHOW PROCESSLIST` and for `KILL`; on SQL Server its session id, also for `KILL`, or 0 where this login may not see it; on Oracle its `SID`. On SQLite the id of the process that holds the lock, or 0 where the operating system does not tell.
    pub session: i64,
    /// What its application calls itself. On PostgreSQL it ends in `dlock` for a lock session of this library. On MySQL and MariaDB it is the account and its host,
    /// and where the server tells also the program and its process: `billing@10.0.0.7 dlock worker[4242]`. On SQLite the name of the process, on Linux.
    /// On SQL Server and Oracle the program's name.
    pub application: String,
}
