//! The locks that are measured, each in its best fair configuration, in a file that a sceptic can read.

mod attribute;
mod dlock;
mod raw;
mod redis;
mod sqlx_pool;

use dlock_bench_child::{Outcome, Result, Sample, measure};

use self::attribute::Call;
use self::dlock::Dlock;
use self::raw::Raw;
use self::redis::Redis;
use self::sqlx_pool::SqlxPool;

/// So many connections has the pool of a lock that takes one for itself: sqlx's and SQLAlchemy's defaults are 10 and 5.
pub(crate) const POOL: u32 = 10;

/// Works as a child of the benchmark.
///
/// # Errors
///
/// Whatever the lock, or its server, does not do.
pub async fn run(sample: &Sample) -> Result<Outcome> {
    match sample.subject.as_str() {
        "raw" => measure(sample, Raw::new(sample)).await,
        "dlock" => measure(sample, Dlock::connect(sample).await?).await,
        "by hand" => measure(sample, Call::connect(sample, false).await?).await,
        "with_dlock" => measure(sample, Call::connect(sample, true).await?).await,
        "sqlx" => measure(sample, SqlxPool::connect(sample, false).await?).await,
        "sqlx+test" => measure(sample, SqlxPool::connect(sample, true).await?).await,
        "redis" => measure(sample, Redis::connect(sample, false).await?).await,
        "redis+mutex" => measure(sample, Redis::connect(sample, true).await?).await,
        other => Err(format!("no such subject: {other}").into()),
    }
}
