//! Ten thousand waits that end about when their timeout does: every outcome is right, and nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Backend, Outcome, Scene};

const POOLS: usize = 4;
const TASKS: usize = 100;
const WAITS: usize = 100;
const KEYS: usize = 16;

#[derive(Debug, Default)]
struct Tally {
    granted: AtomicU64,
    timed_out: AtomicU64,
    taken: [AtomicBool; KEYS],
}

pub(crate) async fn ten_thousand_waits_around_their_timeout_leak_nothing<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut pools = Vec::new();
    pools.resize_with(POOLS, || scene.builder("ours", &db).build());
    let keys: [i64; KEYS] = std::array::from_fn(|_| scene.key());
    let tally = Arc::new(Tally::default());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(wait_often(
            pools[task % POOLS].clone(),
            keys,
            Arc::clone(&tally),
        ));
    }
    tasks.join_all().await;
    let granted = tally.granted.load(Ordering::Relaxed);
    let timed_out = tally.timed_out.load(Ordering::Relaxed);
    assert_eq!(granted + timed_out, (TASKS * WAITS) as u64);
    let rare = granted.min(timed_out);
    assert!(rare > 500, "{granted} granted, {timed_out} timed out");
    let counters = || pools.iter().map(|pool| pool.status().counters);
    assert_eq!(
        counters().map(|counters| counters.timeouts).sum::<u64>(),
        timed_out
    );
    assert_eq!(
        counters()
            .map(|counters| counters.sessions_lost)
            .sum::<u64>(),
        0
    );

    for key in keys {
        scene.until_free(key).await?;
    }
    for pool in pools {
        let status = pool.status();
        assert_eq!(
            (status.held, status.waiters, status.keys),
            (0, 0, 0),
            "{status}"
        );
        assert!(status.sessions <= 4, "{status}");
        for key in keys {
            let guard = pool.dlock(key).try_acquire().await?;
            guard.expect("free").release().await?;
        }
    }
    Ok(())
}

async fn wait_often(pool: LockPool, keys: [i64; KEYS], tally: Arc<Tally>) {
    for _ in 0..WAITS {
        let which = fastrand::usize(..KEYS);
        let limit = Duration::from_micros(fastrand::u64(5_000..60_000));
        match pool.dlock(keys[which]).timeout(limit).await {
            Ok(guard) => {
                let taken = tally.taken[which].swap(true, Ordering::SeqCst);
                assert!(!taken, "two holders");
                sleep(Duration::from_micros(fastrand::u64(..20_000))).await;
                tally.taken[which].store(false, Ordering::SeqCst);
                tally.granted.fetch_add(1, Ordering::Relaxed);
                match fastrand::bool() {
                    true => guard.release().await.expect("held"),
                    false => drop(guard),
                }
            }
            Err(Error::Timeout { waited, .. }) => {
                assert!(waited >= limit, "{waited:?} of {limit:?}");
                tally.timed_out.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}
