//! A server that goes away under load, and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, Lockable};
use dlock_tests::{Db, Victim, env};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Backend, Outcome, Scene, elapsed, eventually, in_one_of, needed, soon};

pub(crate) async fn a_server_that_restarts_loses_every_lock_and_serves_again<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let victim = Victim::take(env(needed(B::VICTIM))).await?;
    let url = B::named(&victim.url().await?, &scene.name);
    let db = B::Db::open(&url, 2).await;
    let key = scene.key();

    in_one_of(3, Duration::from_secs(1), async || {
        let mut guards = Vec::new();
        for _ in 0..20 {
            guards.push(db.dlock(fastrand::i64(..)).await?);
        }
        let mut pinned = Vec::new();
        if B::PINNED {
            pinned.push(db.dlock(fastrand::i64(..)).pinned().await?);
            pinned.push(db.dlock(fastrand::i64(..)).pinned().await?);
        }
        let txn = match pinned.last() {
            Some(guard) => Some(guard.begin().await?),
            None => None,
        };
        let load = Load::start(&db);
        eventually("there is load", async || Ok(load.cycles() > 50)).await?;
        victim.stop().await?;
        for guard in &guards {
            soon("the loss", guard.lost()).await?;
            assert!(!guard.is_held());
        }
        // A pinned guard at work learns of its loss by its next statement.
        if let Some(txn) = txn {
            let committed = soon("an error", txn.commit()).await?;
            assert!(committed.is_err());
        }
        for guard in &pinned {
            soon("the loss", guard.lost()).await?;
            assert!(guard.execute_unprepared("SELECT 1").await.is_err());
        }
        let before = load.cycles();
        assert!(
            db.dlock(key)
                .timeout(Duration::from_millis(100))
                .await
                .is_err()
        );
        victim.start().await?;
        let (again, took) = elapsed(until_locked(&db, key)).await;
        soon("the load", async {
            while load.cycles() < before + 50 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await?;
        load.stop().await?;
        again?.release().await?;
        for guard in guards {
            assert!(guard.release().await.is_err());
        }
        for guard in pinned {
            assert!(guard.execute_unprepared("SELECT 1").await.is_err());
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        }
        if B::PINNED {
            let guard = soon("the lock", db.dlock(key).pinned().into_future()).await??;
            guard.release().await?;
        }
        Ok(took)
    })
    .await?;
    eventually("nothing is held", async || {
        let status = db.lock_pool().status();
        Ok((status.held, status.waiters) == (0, 0))
    })
    .await?;
    victim.start().await?;
    Ok(())
}

/// An application tries again when it is told of an error.
async fn until_locked(db: &impl Db, key: i64) -> Outcome<DLockGuard> {
    let start = Instant::now();
    loop {
        match db.dlock(key).timeout(Duration::from_secs(5)).await {
            Ok(guard) => return Ok(guard),
            Err(error) if start.elapsed() > super::PATIENCE => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Tasks that lock and unlock, whatever happens.
struct Load {
    tasks: JoinSet<()>,
    cycles: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(db: &impl Db) -> Self {
        let (cycles, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        let keys: Vec<i64> = (0..8).map(|_| fastrand::i64(..)).collect();
        for task in 0..16 {
            let (db, cycles, stop) = (db.clone(), Arc::clone(&cycles), Arc::clone(&stop));
            let key = keys[task % keys.len()];
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let limit = Duration::from_secs(5);
                    let cycle = async { db.dlock(key).timeout(limit).await?.release().await };
                    match cycle.await {
                        Ok(()) => drop(cycles.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => sleep(Duration::from_millis(10)).await,
                    }
                }
            });
        }
        Self {
            tasks,
            cycles,
            stop,
        }
    }

    fn cycles(&self) -> usize {
        self.cycles.load(Ordering::Relaxed)
    }

    async fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        soon("the end of the load", self.tasks.join_all()).await?;
        Ok(())
    }
}
