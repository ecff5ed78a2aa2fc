//! The pool alone, on a server in memory: paused time, any fault, any order.

mod chaos;
mod fake;
mod faults;
mod panics;
mod queueing;
mod refused;
mod sessions;
mod turns;
mod upgrades;

use std::time::Duration;

use tokio::task::JoinHandle;

use super::config::Config;
use super::{Grant, LockPool};
use crate::error::Error;
use crate::key::Key;
use crate::mode::Mode;

const MS: Duration = Duration::from_millis(1);

fn config() -> Config {
    Config::default()
}

/// What the holder of a lock calls it.
fn name() -> Key {
    Key::from("a test")
}

async fn exclusive(pool: &LockPool, key: i64) -> Grant {
    acquire(pool, key, Mode::Exclusive, None).await.unwrap()
}

async fn shared(pool: &LockPool, key: i64) -> Grant {
    acquire(pool, key, Mode::Shared, None).await.unwrap()
}

fn exclusive_later(pool: &LockPool, key: i64) -> JoinHandle<Grant> {
    let pool = pool.clone();
    tokio::spawn(async move { exclusive(&pool, key).await })
}

fn shared_later(pool: &LockPool, key: i64) -> JoinHandle<Grant> {
    let pool = pool.clone();
    tokio::spawn(async move { shared(&pool, key).await })
}

/// `timeout` of `None` waits forever.
async fn acquire(
    pool: &LockPool,
    key: i64,
    mode: Mode,
    timeout: Option<Duration>,
) -> Result<Grant, Error> {
    let grant = pool.acquire(&Key::from(key), mode, timeout, false).await?;
    Ok(grant.expect("no timeout of zero in these tests"))
}

fn acquire_later(
    pool: &LockPool,
    key: i64,
    mode: Mode,
    timeout: Option<Duration>,
) -> JoinHandle<Result<Grant, Error>> {
    let pool = pool.clone();
    tokio::spawn(async move { acquire(&pool, key, mode, timeout).await })
}

async fn try_exclusive(pool: &LockPool, key: i64) -> Option<Grant> {
    let key = Key::from(key);
    pool.acquire(&key, Mode::Exclusive, None, true)
        .await
        .unwrap()
}
