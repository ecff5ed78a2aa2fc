//! A lock as the server sees it.

use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// A lock as the server sees it, whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLock {
    /// What this process calls it, when it holds or wants it too: a server that hashes keys cannot tell.
    pub name: Option<Key>,
    /// What the server calls it.
    pub key: PhysicalKey,
    /// How it is held or wanted.
    pub mode: Mode,
    /// Whether it is held; otherwise it is waited for.
    pub granted: bool,
    /// By whom.
    pub holder: Holder,
}

/// A session on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Whether it is the very session that answered.
    pub(crate) this_session: bool,
    /// The server's number for the session: on PostgreSQL its process id, as in `pg_stat_activity` and for `pg_terminate_backend`.
    pub session: i64,
    /// What its application calls itself; ends in `dlock` for a lock session of this library.
    pub application: String,
}
