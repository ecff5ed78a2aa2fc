//! What can go wrong, said once. Knows every other type of the crate only by name.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use sea_orm::DbErr;

use crate::key::{InvalidKey, Key, PhysicalKey};
use crate::server_lock::Holder;

/// Why a lock was not got, not kept, or not given back.
///
/// Contention is not an error: `try_acquire` answers `None` (or `false` in a transaction).
///
/// With the feature `axum` or `actix-web` it is a response, which tells clients neither the key nor what the database said.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lock was not acquired within its timeout, since another holder had it. Worth a retry.
    ///
    /// When the server could not be reached in that time, the error is
    /// [`Database`](Self::Database). A refused connection is known after 250 ms, a silent server
    /// after 1.3 s; a shorter timeout ends with this error.
    #[error(
        "lock `{key}` was not acquired within {waited:?}{}",
        .held_by.as_ref().map_or_else(String::new, |holder| format!(": held by {holder}"))
    )]
    #[non_exhaustive]
    Timeout {
        /// The key that was asked for.
        key: Key,
        /// The time from the call to this answer.
        waited: Duration,
        /// The holder, if it is known at the deadline: a guard of the same pool, or the session that
        /// the server reported last during a wait of more than a second.
        held_by: Option<HeldBy>,
    },
    /// The server ended a wait because it closed a circle of waiting transactions or sessions.
    ///
    /// By [`xact`](crate::DLock::xact) locks, whose transaction is still usable, and its other locks held: roll back and retry. On SQL Server and Oracle also by others, when the
    /// server says so; what the guards of this process hold is held on.
    #[error(
        "waiting for lock `{key}` would have closed a circle of waiting transactions or sessions"
    )]
    Deadlock {
        /// The key whose wait was ended.
        key: Key,
    },
    /// The lock is held no longer, and another client may hold it by now.
    #[error("lock `{key}` was lost {cause}")]
    #[non_exhaustive]
    Lost {
        /// The key that is no longer held.
        key: Key,
        /// How it was lost.
        cause: LossCause,
    },
    /// This backend cannot do what was asked; no weaker lock is taken instead.
    #[error("{backend} has no support for {feature}: {hint}")]
    Unsupported {
        /// The database, or what stands in its place, as found.
        backend: &'static str,
        /// What was asked for.
        feature: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// The address leads to a place where locks would be false: another client could be granted the
    /// same key.
    ///
    /// Reported when a session is opened, and when an answer came from another server session than
    /// the one that holds the pool's locks; then the guards of the pool report their loss. The
    /// guide's chapter [`poolers`](crate::guide::poolers) lists the set-ups.
    #[error("locks refused: found {found}, expected {expected}; {way_out}")]
    #[non_exhaustive]
    Refused {
        /// The server, proxy, file or answer that was met.
        found: Cow<'static, str>,
        /// What locks need in its place.
        expected: Cow<'static, str>,
        /// How to get there.
        way_out: &'static str,
    },
    /// No tokio runtime is running on this thread, or the one that runs is shutting down.
    #[error(
        "no tokio runtime is running: call from a task of a runtime that has not been shut down, or set `LockPoolBuilder::runtime(handle)`"
    )]
    #[non_exhaustive]
    NoRuntime,
    /// The key cannot be turned into a lock of this backend.
    #[error("invalid lock key {key:?}: {reason}")]
    InvalidKey {
        /// The key as it was given.
        key: String,
        /// What is wrong with it, and what to use instead.
        reason: &'static str,
    },
    /// The lock pool was built with a setting that cannot work.
    #[error("invalid lock pool setting {setting}: {reason}")]
    InvalidSetting {
        /// The method of [`LockPoolBuilder`](crate::LockPoolBuilder) and its argument.
        setting: &'static str,
        /// What is wrong with it, and what to use instead.
        reason: &'static str,
    },
    /// The lock pool, or the connection that it belongs to, was closed.
    #[error("the lock pool is closed")]
    PoolClosed,
    /// The database failed; the source tells how.
    #[error("database error during {phase}")]
    Database {
        /// What was being done.
        phase: Phase,
        /// The error as SeaORM reports it.
        source: DbErr,
    },
}

/// The holder of a lock that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldBy {
    /// A guard of the pool that was asked. The caller waits for its own process, perhaps for
    /// itself.
    #[non_exhaustive]
    ThisProcess {
        /// How long the guard has held the lock.
        held_for: Duration,
    },
    /// A session of another pool or process.
    Session(Holder),
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisProcess { held_for } => write!(
                f,
                "this process for {:.1} s; locks are not re-entrant",
                held_for.as_secs_f64()
            ),
            Self::Session(holder) => write!(f, "{holder}"),
        }
    }
}

/// How a lock was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossCause {
    /// Its session on the server ended, or a lock file was taken away.
    Session,
    /// The tokio runtime ended on which the lock pool had its sessions.
    Runtime,
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "with its database session",
            Self::Runtime => RUNTIME_ENDED,
        })
    }
}

/// After "lost".
pub(crate) const RUNTIME_ENDED: &str = "with the tokio runtime on which its lock pool had its \
     sessions: a pool lives on the runtime of its first request; keep that running, or choose one \
     with `LockPoolBuilder::runtime(handle)`";

impl Error {
    pub(crate) fn lost(key: &Key, cause: LossCause) -> Self {
        Self::Lost {
            key: key.clone(),
            cause,
        }
    }

    /// What SeaORM's functions can return: a database error stays itself, everything else becomes
    /// `DbErr::Custom`.
    pub(crate) fn into_db_err(self) -> DbErr {
        match self {
            Self::Database { source, .. } => source,
            other => DbErr::Custom(other.to_string()),
        }
    }

    /// The server's answer to a release.
    pub(crate) fn not_held(key: &PhysicalKey) -> Self {
        let message = format!("lock {key} was not held where it was released");
        Phase::Release.failed(DbErr::Custom(message))
    }

    pub(crate) const fn refused(
        found: &'static str,
        expected: &'static str,
        way_out: &'static str,
    ) -> Self {
        Self::Refused {
            found: Cow::Borrowed(found),
            expected: Cow::Borrowed(expected),
            way_out,
        }
    }
}

impl From<InvalidKey> for Error {
    fn from(InvalidKey { key, reason }: InvalidKey) -> Self {
        Self::InvalidKey { key, reason }
    }
}

/// What was being done when the database failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Opening a lock session.
    Connect,
    /// Asking for the lock.
    Acquire,
    /// Giving back a [pinned](crate::DLock::pinned) lock whose connection is still at work.
    Release,
    /// Beginning the transaction of [`transaction`](crate::DLock::transaction).
    Begin,
    /// Committing it.
    Commit,
    /// Listing the server's locks.
    Inspect,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Begin => "begin",
            Self::Commit => "commit",
            Self::Inspect => "inspect",
        })
    }
}

impl Phase {
    /// The answers of a session are not as many as the requests.
    pub(crate) fn unreadable(self) -> Error {
        self.failed(DbErr::Custom(
            "the answers are not those to the requests".to_owned(),
        ))
    }

    /// Wraps what the database said in this phase.
    pub(crate) fn failed(self, source: DbErr) -> Error {
        Error::Database {
            phase: self,
            source,
        }
    }
}
