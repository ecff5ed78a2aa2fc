//! Exclusion while files are unlinked and made anew all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use dlock::{DLockExt, LockPool};
use sea_orm::DatabaseConnection;
use tokio::runtime;
use tokio::task::JoinSet;

use super::database::Scratch;
use crate::suite::{Failure, Outcome};

const KEY: i64 = 42;
pub(super) const POOLS: usize = 8;
pub(super) const TASKS: usize = 4;

/// Who is in: one writer, or any number of readers.
#[derive(Debug, Default)]
pub(super) struct Room {
    writing: AtomicBool,
    readers: AtomicUsize,
    pub(super) entered: AtomicUsize,
}

impl Room {
    /// A step of time in which others would be met.
    async fn write(&self) {
        assert!(!self.writing.swap(true, Ordering::SeqCst), "two writers");
        tokio::task::yield_now().await;
        let readers = self.readers.load(Ordering::SeqCst);
        assert_eq!(readers, 0, "a writer among readers");
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.writing.store(false, Ordering::SeqCst);
    }

    async fn read(&self) {
        self.readers.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let writing = self.writing.load(Ordering::SeqCst);
        assert!(!writing, "a reader beside a writer");
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn pools(db: &DatabaseConnection) -> Vec<LockPool> {
    let mut pools = Vec::new();
    pools.resize_with(POOLS, || LockPool::builder(db).build());
    pools
}

/// `rounds` of every task, of which about so many in ten are readers.
pub(super) async fn hammer(
    pools: &[LockPool],
    rounds: usize,
    readers: usize,
) -> Outcome<Arc<Room>> {
    let room = Arc::new(Room::default());
    let mut tasks: JoinSet<Outcome> = JoinSet::new();
    for task in 0..POOLS * TASKS {
        let (pool, room) = (pools[task % POOLS].clone(), Arc::clone(&room));
        tasks.spawn(async move {
            for _ in 0..rounds {
                if fastrand::usize(..10) < readers {
                    let guard = pool.dlock(KEY).shared().await?;
                    room.read().await;
                    guard.release().await?;
                } else {
                    let guard = pool.dlock(KEY).await?;
                    room.write().await;
                    drop(guard);
                }
            }
            Ok(())
        });
    }
    for done in tasks.join_all().await {
        done?;
    }
    Ok(room)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_pools_has_a_lock_that_comes_and_goes() -> Outcome {
    const ROUNDS: usize = 100;
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let room = hammer(&pools(&db), ROUNDS, 0).await?;
    let entered = room.entered.load(Ordering::SeqCst);
    assert_eq!(entered, POOLS * TASKS * ROUNDS);
    scratch.until_empty().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_is_alone_where_readers_leave_their_file() -> Outcome {
    const ROUNDS: usize = 60;
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let pools = pools(&db);
    let room = hammer(&pools, ROUNDS, 6).await?;
    let entered = room.entered.load(Ordering::SeqCst);
    assert_eq!(entered, POOLS * TASKS * ROUNDS);
    // The last one may have been a reader.
    pools[0].dlock(KEY).await?.release().await?;
    scratch.until_empty().await
}

/// Without any pause between the tries, so that they hit every step of a release.
#[tokio::test]
async fn tries_from_many_threads_have_one_winner_at_a_time() -> Outcome {
    const THREADS: usize = 4;
    const WINS: usize = 3000;
    let scratch = Scratch::create().await;
    let room = Arc::new(Room::default());
    let url = scratch.url();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (room, url) = (Arc::clone(&room), url.clone());
            thread::spawn(move || -> Outcome {
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let db = dlock_tests::connect(&url, 1).await;
                    while room.entered.load(Ordering::SeqCst) < WINS {
                        let tried = match fastrand::bool() {
                            true => db.dlock(KEY).try_acquire().await?,
                            false => db.dlock(KEY).shared().try_acquire().await?,
                        };
                        match tried.as_ref().map(dlock::DLockGuard::mode) {
                            Some(dlock::Mode::Exclusive) => room.write().await,
                            Some(_) => room.read().await,
                            None => {}
                        }
                        drop(tried);
                    }
                    Ok(())
                })
            })
        })
        .collect();
    for thread in threads {
        let done = tokio::task::spawn_blocking(|| thread.join()).await?;
        done.map_err(|_| Failure::new("a thread panicked"))??;
    }
    let db = scratch.db().await;
    db.dlock(KEY).await?.release().await?;
    scratch.until_empty().await
}
