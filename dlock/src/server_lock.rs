//! A lock as the server sees it.

use std::fmt;

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
    /// The server's number for the session.
    ///
    /// | database | number |
    /// |---|---|
    /// | PostgreSQL | the process id, as in `pg_stat_activity` and for `pg_terminate_backend`; 0 for a prepared transaction |
    /// | MySQL, MariaDB | the connection id, as in `SHOW PROCESSLIST` and for `KILL` |
    /// | SQL Server | the session id, also for `KILL`; 0 where this login may not see it |
    /// | Oracle | the `SID` |
    /// | SQLite | the id of the process; 0 where the operating system does not show it |
    pub session: i64,
    /// The application's name.
    ///
    /// | database | name |
    /// |---|---|
    /// | PostgreSQL | the `application_name`, which ends in `dlock` for a lock session of this library; `prepared transaction 'NAME'` for one of [`PREPARE TRANSACTION`](https://www.postgresql.org/docs/current/sql-prepare-transaction.html) |
    /// | MySQL, MariaDB | account and host; with the performance schema also program and process: `billing@10.0.0.7 dlock worker[4242]` |
    /// | SQLite | the name of the process, on Linux |
    /// | SQL Server, Oracle | the program's name |
    pub application: String,
}

/// As a person would look for it: `session 4242 (billing dlock)`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            session,
            application,
        } = self;
        match (*session, &**application) {
            (0, "") => f.write_str("a session that the server does not name"),
            (0, application) => f.write_str(application),
            (session, "") => write!(f, "session {session}"),
            (session, application) => write!(f, "session {session} ({application})"),
        }
    }
}
