//! The crate distributed-lock on PostgreSQL and MySQL, on an sqlx pool with the options that sqlx's own lock has in this benchmark.

use std::env;
use std::str::FromStr;
use std::time::Duration;

use distributed_lock_core::{DistributedLock, LockHandle, LockProvider};
use distributed_lock_mysql::MySqlLockProvider;
use distributed_lock_postgres::PostgresLockProvider;
use dlock_bench_child::{Lock, Outcome, Result, Sample, Subject, measure, runtime};
use sqlx::Database;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Connections, like every other pool here.
const POOL: u32 = 10;

fn main() -> Result<()> {
    let argument = env::args().nth(1).ok_or("a sample is missing")?;
    let sample: Sample = serde_json::from_str(&argument)?;
    let outcome = runtime(&sample)?.block_on(run(&sample))?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

async fn run(sample: &Sample) -> Result<Outcome> {
    let timeout = sample.timeout();
    // The crate is built with TLS, dlock's side is not.
    if sample.url.starts_with("postgres:") {
        let connect = PgConnectOptions::from_str(&sample.url)?.ssl_mode(PgSslMode::Disable);
        let pool = options().connect_with(connect).await?;
        let provider = PostgresLockProvider::builder().pool(pool).build().await?;
        measure(sample, Provider { provider, timeout }).await
    } else {
        let connect = MySqlConnectOptions::from_str(&sample.url)?.ssl_mode(MySqlSslMode::Disabled);
        let pool = options().connect_with(connect).await?;
        let provider = MySqlLockProvider::builder().pool(pool).build().await?;
        measure(sample, Provider { provider, timeout }).await
    }
}

/// A provider by URL has the same, but tests the connection before each acquire, which costs a round trip more.
fn options<DB: Database>() -> PoolOptions<DB> {
    PoolOptions::new()
        .min_connections(POOL)
        .max_connections(POOL)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(60))
}

struct Provider<P> {
    provider: P,
    timeout: Option<Duration>,
}

struct OfKey<L> {
    lock: L,
    timeout: Option<Duration>,
}

impl<P: LockProvider + 'static> Subject for Provider<P>
where
    P::Lock: 'static,
    <P::Lock as DistributedLock>::Handle: 'static,
{
    type Lock = OfKey<P::Lock>;

    async fn lock(&self, key: String) -> Result<Self::Lock> {
        let lock = self.provider.create_lock(&key);
        let timeout = self.timeout;
        Ok(OfKey { lock, timeout })
    }
}

impl<L: DistributedLock + 'static> Lock for OfKey<L>
where
    L::Handle: 'static,
{
    type Held = L::Handle;

    async fn acquire(&mut self) -> Result<L::Handle> {
        Ok(self.lock.acquire(self.timeout).await?)
    }

    async fn try_acquire(&mut self) -> Result<Option<L::Handle>> {
        Ok(self.lock.try_acquire().await?)
    }

    async fn release(&mut self, held: L::Handle) -> Result<()> {
        Ok(held.release().await?)
    }
}
