//! A pool whose tasks take turns among themselves without a pause leaves others their share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dlock::{DLockExt, LockPool};
use dlock_tests::connect;
use tokio::runtime;
use tokio::task::JoinSet;

use super::database::Scratch;
use crate::suite::{Failure, Outcome};

const KEY: i64 = 42;
const FOR: Duration = Duration::from_secs(2);

/// An application on a runtime of its own, all of whose tasks take the lock again and again. Says how often it was granted by the file.
fn cycle(
    url: String,
    tasks: usize,
    hold: Option<Duration>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Outcome<u64>> {
    thread::spawn(move || {
        let mut runtime = runtime::Builder::new_current_thread();
        runtime.enable_all().build()?.block_on(async {
            let db = connect(&url, 1).await;
            let mut cycling: JoinSet<Result<(), dlock::Error>> = JoinSet::new();
            for _ in 0..tasks {
                let (db, stop) = (db.clone(), Arc::clone(&stop));
                cycling.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let guard = db.dlock(KEY).await?;
                        if let Some(hold) = hold {
                            tokio::time::sleep(hold).await;
                        }
                        guard.release().await?;
                    }
                    Ok(())
                });
            }
            for done in cycling.join_all().await {
                done?;
            }
            let counters = LockPool::of(&db).status().counters;
            Ok(counters.acquired - counters.handoffs)
        })
    })
}

async fn one_has_its_share_beside_many(hold: Option<Duration>) -> Outcome {
    let scratch = Scratch::create().await;
    let stop = Arc::new(AtomicBool::new(false));
    let many = cycle(scratch.url(), 64, hold, Arc::clone(&stop));
    let lone = cycle(scratch.url(), 1, hold, Arc::clone(&stop));
    tokio::time::sleep(FOR).await;
    stop.store(true, Ordering::Relaxed);
    let granted = |thread: JoinHandle<Outcome<u64>>| {
        let granted = thread.join();
        granted.map_err(|_| Failure::new("a thread panicked"))?
    };
    let (many, lone) = (granted(many)?, granted(lone)?);
    let share = lone as f64 / (lone + many) as f64;
    assert!(share > 0.2, "{lone} grants beside {many}");
    scratch.until_empty().await
}

#[tokio::test]
async fn one_task_elsewhere_gets_its_share_beside_many_that_never_pause() -> Outcome {
    one_has_its_share_beside_many(None).await
}

#[tokio::test]
async fn one_task_elsewhere_gets_its_share_beside_many_that_hold_for_a_while() -> Outcome {
    one_has_its_share_beside_many(Some(Duration::from_millis(5))).await
}
