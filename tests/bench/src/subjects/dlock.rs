//! dlock, as its users write it.

use dlock::{DLockExt, DLockGuard, LockPool};
use dlock_bench_child::{Lock, Result, Sample, Subject};
use dlock_tests::connect;
use sea_orm::DatabaseConnection;
use std::time::Duration;

/// The application's connection; the locks have sessions of their own.
pub(super) struct Dlock {
    db: DatabaseConnection,
    timeout: Option<Duration>,
}

impl Dlock {
    pub(super) async fn connect(sample: &Sample) -> Result<Self> {
        let db = connect(&sample.url, 1).await;
        if let Some(sessions) = sample.max_sessions {
            LockPool::builder(&db).max_sessions(sessions).install();
        }
        let timeout = sample.timeout();
        Ok(Self { db, timeout })
    }
}

impl Subject for Dlock {
    type Lock = OfKey;

    async fn lock(&self, key: String) -> Result<OfKey> {
        let (db, timeout) = (self.db.clone(), self.timeout);
        Ok(OfKey { db, timeout, key })
    }

    fn grants(&self) -> Option<u64> {
        let counters = LockPool::of(&self.db).status().counters;
        Some(counters.acquired - counters.handoffs)
    }
}

pub(super) struct OfKey {
    db: DatabaseConnection,
    timeout: Option<Duration>,
    key: String,
}

impl Lock for OfKey {
    type Held = DLockGuard;

    async fn acquire(&mut self) -> Result<DLockGuard> {
        let lock = self.db.dlock(&self.key);
        Ok(match self.timeout {
            None => lock.await?,
            Some(timeout) => lock.timeout(timeout).await?,
        })
    }

    async fn try_acquire(&mut self) -> Result<Option<DLockGuard>> {
        Ok(self.db.dlock(&self.key).try_acquire().await?)
    }

    async fn release(&mut self, guard: DLockGuard) -> Result<()> {
        Ok(guard.release().await?)
    }
}
