//! Two pools that want the same keys all the time: no lock has two holders.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Scene, Server};
use crate::suite::{Outcome, soon};

const TASKS: usize = 20;
const LOAD: Duration = Duration::from_secs(2);

/// Who has what, as the guards say it.
#[derive(Debug, Default)]
struct Tally {
    held: Mutex<HashMap<i64, Vec<Arc<DLockGuard>>>>,
    grants: AtomicUsize,
    errors: AtomicUsize,
}

impl Tally {
    fn held(&self) -> MutexGuard<'_, HashMap<i64, Vec<Arc<DLockGuard>>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else has it, unless he knows that he has lost it.
    fn take(&self, key: i64, guard: DLockGuard) -> Arc<DLockGuard> {
        let guard = Arc::new(guard);
        let mut held = self.held();
        let holders = held.entry(key).or_default();
        let others = holders.iter().filter(|other| other.is_held()).count();
        // In this order: the newer one may have been lost in between.
        assert!(
            others == 0 || !guard.is_held(),
            "two holders: {guard:?} and {holders:?}"
        );
        holders.push(Arc::clone(&guard));
        self.grants.fetch_add(1, Ordering::SeqCst);
        guard
    }

    async fn give_back(&self, key: i64, guard: Arc<DLockGuard>) -> Result<(), Error> {
        let others = |other: &mut Arc<DLockGuard>| !Arc::ptr_eq(other, &guard);
        self.held().entry(key).or_default().retain_mut(others);
        let guard = Arc::into_inner(guard).expect("the last one");
        guard.release().await
    }
}

/// Holds one key and tries or waits for another, again and again.
async fn cross(pool: LockPool, keys: Vec<i64>, tally: Arc<Tally>) -> Result<(), Error> {
    let started = Instant::now();
    while started.elapsed() < LOAD {
        let (one, other) = (fastrand::usize(..keys.len()), fastrand::usize(..keys.len()));
        let (one, other) = (keys[one], keys[other]);
        let limit = Duration::from_millis(fastrand::u64(..30));
        let held = match pool.dlock(one).timeout(limit).await {
            Ok(held) => held,
            Err(Error::Timeout { .. }) => continue,
            Err(error) => return Err(error),
        };
        let held = tally.take(one, held);
        let got = match fastrand::bool() {
            true => pool.dlock(other).try_acquire().await?,
            false => match pool.dlock(other).timeout(limit).await {
                Ok(got) => Some(got),
                Err(Error::Timeout { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        if let Some(got) = got {
            let got = tally.take(other, got);
            tally.give_back(other, got).await?;
        }
        tally.give_back(one, held).await?;
    }
    Ok(())
}

pub(crate) async fn pools_that_want_each_others_keys_hear_of_no_error<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let keys = scene.keys(TASKS);
    let tally = Arc::<Tally>::default();
    let pools = [
        LockPool::builder(&db).build(),
        LockPool::builder(&db).build(),
    ];
    let mut tasks = JoinSet::new();
    for task in 0..2 * TASKS {
        let pool = pools[task % 2].clone();
        tasks.spawn(cross(pool, keys.clone(), Arc::clone(&tally)));
    }
    for crossed in soon("the tasks", tasks.join_all()).await? {
        crossed?;
    }
    assert!(tally.grants.load(Ordering::SeqCst) > 10 * TASKS);
    for pool in &pools {
        assert_eq!(pool.status().held, 0);
        assert_eq!(pool.status().counters.sessions_lost, 0);
    }
    Ok(())
}

/// Errors may be heard then, but no lock has two holders and none stays behind.
pub(crate) async fn operators_who_end_statements_under_load_break_nothing<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (db, application) = (scene.db_of("ours", 1).await, scene.application("ours"));
    let keys = scene.keys(TASKS);
    let tally = Arc::<Tally>::default();
    let pools = [
        LockPool::builder(&db).build(),
        LockPool::builder(&db).build(),
    ];
    let mut tasks = JoinSet::new();
    for task in 0..2 * TASKS {
        let (pool, keys, tally) = (pools[task % 2].clone(), keys.clone(), Arc::clone(&tally));
        tasks.spawn(async move {
            let started = Instant::now();
            while started.elapsed() < LOAD {
                let key = keys[fastrand::usize(..keys.len())];
                let limit = Duration::from_millis(fastrand::u64(..30));
                match pool.dlock(key).timeout(limit).await {
                    Ok(guard) => {
                        let guard = tally.take(key, guard);
                        sleep(Duration::from_micros(fastrand::u64(..500))).await;
                        let released = tally.give_back(key, guard).await;
                        tally
                            .errors
                            .fetch_add(usize::from(released.is_err()), Ordering::SeqCst);
                    }
                    Err(Error::Timeout { .. }) => {}
                    Err(_) => drop(tally.errors.fetch_add(1, Ordering::SeqCst)),
                }
            }
        });
    }
    let mut raw = scene.raw().await?;
    let started = Instant::now();
    while started.elapsed() < LOAD {
        for session in raw.sessions(&application).await? {
            for _ in 0..50 {
                raw.kill("QUERY", &session).await;
            }
        }
    }
    soon("the tasks", tasks.join_all()).await?;
    let (grants, errors) = (
        tally.grants.load(Ordering::SeqCst),
        tally.errors.load(Ordering::SeqCst),
    );
    assert!(grants > 10 * TASKS, "{grants}");
    assert!(errors < grants / 20, "{errors} errors, {grants} grants");
    for pool in &pools {
        assert_eq!(pool.status().held, 0);
    }
    Ok(())
}
