//! The ways to hold a lock, as values: so that one test can try them all, here and in another process.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, Mode, Phase, PinnedGuard};
use sea_orm::{DatabaseTransaction, TransactionTrait};

use crate::Db;

/// What a lock ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Its guard.
    Session,
    /// Its guard, on a session of its own.
    Pinned,
    /// Its transaction.
    Transaction,
}

/// A way to hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Exclusive or shared.
    pub mode: Mode,
    /// What it ends with.
    pub scope: Scope,
}

impl Way {
    /// What `db.dlock(key)` does.
    pub const PLAIN: Self = Self {
        mode: Mode::Exclusive,
        scope: Scope::Session,
    };

    /// What `db.dlock(key).pinned()` does.
    pub const PINNED: Self = Self {
        mode: Mode::Exclusive,
        scope: Scope::Pinned,
    };

    /// Many readers.
    pub const SHARED: Self = Self {
        mode: Mode::Shared,
        scope: Scope::Session,
    };

    /// Every way there is.
    pub fn all() -> [Self; 6] {
        let way = |mode, scope| Self { mode, scope };
        [
            way(Mode::Exclusive, Scope::Session),
            way(Mode::Shared, Scope::Session),
            way(Mode::Exclusive, Scope::Pinned),
            way(Mode::Shared, Scope::Pinned),
            way(Mode::Exclusive, Scope::Transaction),
            way(Mode::Shared, Scope::Transaction),
        ]
    }

    /// Waits for the lock.
    ///
    /// # Errors
    ///
    /// What dlock says; [`Error::Unsupported`] for a transaction where there are none.
    pub async fn acquire(self, db: &impl Db, key: i64, timeout: Duration) -> Result<Held, Error> {
        let shared = self.is_shared();
        match self.scope {
            Scope::Session => {
                let lock = db.dlock(key).timeout(timeout);
                let lock = if shared { lock.shared() } else { lock };
                Ok(Held::Session(lock.await?))
            }
            Scope::Pinned => {
                let lock = db.dlock(key).pinned().timeout(timeout);
                let lock = if shared { lock.shared() } else { lock };
                Ok(Held::Pinned(lock.await?))
            }
            Scope::Transaction => {
                let txn = begin(db).await?;
                let lock = txn.dlock(key).timeout(timeout).xact();
                let lock = if shared { lock.shared() } else { lock };
                lock.await?;
                Ok(Held::Transaction(txn))
            }
        }
    }

    /// One try.
    ///
    /// # Errors
    ///
    /// What dlock says; [`Error::Unsupported`] for a transaction where there are none.
    pub async fn try_acquire(self, db: &impl Db, key: i64) -> Result<Option<Held>, Error> {
        let shared = self.is_shared();
        match self.scope {
            Scope::Session => {
                let lock = db.dlock(key);
                let lock = if shared { lock.shared() } else { lock };
                Ok(lock.try_acquire().await?.map(Held::Session))
            }
            Scope::Pinned => {
                let lock = db.dlock(key);
                let lock = if shared { lock.shared() } else { lock };
                Ok(lock.pinned().try_acquire().await?.map(Held::Pinned))
            }
            Scope::Transaction => {
                let txn = begin(db).await?;
                let lock = txn.dlock(key).xact();
                let lock = if shared { lock.shared() } else { lock };
                let got = lock.try_acquire().await?;
                Ok(got.then_some(Held::Transaction(txn)))
            }
        }
    }

    fn is_shared(self) -> bool {
        self.mode == Mode::Shared
    }
}

async fn begin(db: &impl Db) -> Result<DatabaseTransaction, Error> {
    let connection = db.connection().ok_or(Error::Unsupported {
        backend: "a lock pool without a connection of SeaORM",
        feature: "transactions",
        hint: "hold the lock by its guard",
    })?;
    connection.begin().await.map_err(|source| Error::Database {
        phase: Phase::Begin,
        source,
    })
}

/// A lock that is held in one of the ways.
#[derive(Debug)]
pub enum Held {
    /// By a guard.
    Session(DLockGuard),
    /// By a guard with a session of its own.
    Pinned(PinnedGuard),
    /// By a transaction.
    Transaction(DatabaseTransaction),
}

impl Held {
    /// Gives it back.
    ///
    /// # Errors
    ///
    /// What dlock says, or the database to the commit.
    pub async fn release(self) -> Result<(), Error> {
        match self {
            Self::Session(guard) => guard.release().await,
            Self::Pinned(guard) => guard.release().await,
            Self::Transaction(txn) => txn.commit().await.map_err(|source| Error::Database {
                phase: Phase::Commit,
                source,
            }),
        }
    }
}

/// As [`FromStr`] reads it.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Session => "session",
            Scope::Pinned => "pinned",
            Scope::Transaction => "xact",
        };
        write!(f, "{}-{scope}", self.mode)
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut known = Self::all().into_iter();
        known
            .find(|way| way.to_string() == text)
            .ok_or_else(|| format!("no way to lock: {text}"))
    }
}
