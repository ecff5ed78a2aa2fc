//! The crate distributed-lock on PostgreSQL and MySQL, as its documentation shows it: a provider by URL, whose sqlx pool has 10 connections by default.

use std::env;
use std::time::Duration;

use distributed_lock_core::{DistributedLock, LockHandle, LockProvider};
use distributed_lock_mysql::MySqlLockProvider;
use distributed_lock_postgres::PostgresLockProvider;
use dlock_bench_child::{Lock, Outcome, Result, Sample, Subject, measure, runtime};

fn main() -> Result<()> {
    let argument = env::args().nth(1).ok_or("a sample is missing")?;
    let sample: Sample = serde_json::from_str(&argument)?;
    let outcome = runtime()?.block_on(run(&sample))?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

async fn run(sample: &Sample) -> Result<Outcome> {
    let timeout = sample.timeout();
    // The crate is built with TLS, dlock's side is not.
    if sample.url.starts_with("postgres:") {
        let url = format!("{}?sslmode=disable", sample.url);
        let provider = PostgresLockProvider::new(url).await?;
        measure(sample, Provider { provider, timeout }).await
    } else {
        let url = format!("{}?ssl-mode=DISABLED", sample.url);
        let provider = MySqlLockProvider::new(url).await?;
        measure(sample, Provider { provider, timeout }).await
    }
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
