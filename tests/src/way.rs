//! The ways to hold a lock, as values: so that one test can try them all, here and in another process.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, Mode, Phase, PinnedGuard};
use sea_orm::{DatabaseConnection, DatabaseTransaction, TransactionTrait};

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
    /// What dlock says.
    pub async fn acquire(
        self,
        db: &DatabaseConnection,
        key: i64,
        timeout: Duration,
    ) -> Result<Held, Error> {
        match self.scope {
            Scope::Session => {
                let lock = db.dlock(key).timeout(timeout);
                let lock = match self.mode {
                    Mode::Exclusive => lock,
                    Mode::Shared => lock.shared(),
                };
                Ok(Held::Session(lock.await?))
            }
            Scope::Pinned => {
                let lock = db.dlock(key).pinned().timeout(timeout);
                let lock = match self.mode {
                    Mode::Exclusive => lock,
                    Mode::Shared => lock.shared(),
                };
                Ok(Held::Pinned(lock.await?))
            }
            Scope::Transaction => {
                let txn = begin(db).await?;
                let lock = txn.dlock(key).timeout(timeout).xact();
                match self.mode {
                    Mode::Exclusive => lock.await?,
                    Mode::Shared => lock.shared().await?,
                }
                Ok(Held::Transaction(txn))
            }
        }
    }

    /// One try.
    ///
    /// # Errors
    ///
    /// What dlock says.
    pub async fn try_acquire(
        self,
        db: &DatabaseConnection,
        key: i64,
    ) -> Result<Option<Held>, Error> {
        match self.scope {
            Scope::Session => {
                let lock = match self.mode {
                    Mode::Exclusive => db.dlock(key),
                    Mode::Shared => db.dlock(key).shared(),
                };
                Ok(lock.try_acquire().await?.map(Held::Session))
            }
            Scope::Pinned => {
                let lock = match self.mode {
                    Mode::Exclusive => db.dlock(key).pinned(),
                    Mode::Shared => db.dlock(key).shared().pinned(),
                };
                Ok(lock.try_acquire().await?.map(Held::Pinned))
            }
            Scope::Transaction => {
                let txn = begin(db).await?;
                let lock = match self.mode {
                    Mode::Exclusive => txn.dlock(key).xact(),
                    Mode::Shared => txn.dlock(key).xact().shared(),
                };
                let got = lock.try_acquire().await?;
                Ok(got.then_some(Held::Transaction(txn)))
            }
        }
    }
}

async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    db.begin().await.map_err(|source| Error::Database {
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
