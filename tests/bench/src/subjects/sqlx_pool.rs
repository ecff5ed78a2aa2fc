//! sqlx's own `PgAdvisoryLock`, on connections of a pool, as its documentation shows it.

use std::time::Duration;

use dlock_bench_child::{Lock, Result, Sample, Subject};
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockGuard, PgPoolOptions};
use sea_orm::sqlx::{Either, PgPool, Postgres};

use super::POOL;

pub(super) struct SqlxPool {
    pool: PgPool,
}

impl SqlxPool {
    /// `test`: as sqlx's pools do it by default, with a round trip more for each `acquire` of the pool.
    pub(super) async fn connect(sample: &Sample, test: bool) -> Result<Self> {
        let options = PgPoolOptions::new()
            .min_connections(POOL)
            .max_connections(POOL);
        let options = options
            .test_before_acquire(test)
            .acquire_timeout(Duration::from_secs(60));
        let pool = options.connect(&sample.url).await?;
        Ok(Self { pool })
    }
}

impl Subject for SqlxPool {
    type Lock = OfKey;

    async fn lock(&self, key: String) -> Result<OfKey> {
        let (pool, lock) = (self.pool.clone(), PgAdvisoryLock::new(key));
        Ok(OfKey { pool, lock })
    }
}

pub(super) struct OfKey {
    pool: PgPool,
    lock: PgAdvisoryLock,
}

impl Lock for OfKey {
    type Held = PgAdvisoryLockGuard<PoolConnection<Postgres>>;

    async fn acquire(&mut self) -> Result<Self::Held> {
        let connection = self.pool.acquire().await?;
        Ok(self.lock.acquire(connection).await?)
    }

    async fn try_acquire(&mut self) -> Result<Option<Self::Held>> {
        let connection = self.pool.acquire().await?;
        match self.lock.try_acquire(connection).await? {
            Either::Left(guard) => Ok(Some(guard)),
            Either::Right(_connection) => Ok(None),
        }
    }

    async fn release(&mut self, guard: Self::Held) -> Result<()> {
        guard.release_now().await?;
        Ok(())
    }
}
