//! The listing while other things happen: it is right, and it changes nothing.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dlock::{DLockExt, LockPool, ServerLock};
use sea_orm::DatabaseConnection;
use tokio::sync::oneshot;

use super::database::Scratch;
use crate::suite::{Outcome, soon};

const KEY: i64 = 42;
const SHARED: i64 = 43;

async fn listed(db: &DatabaseConnection) -> Outcome<Vec<ServerLock>> {
    let mut locks = LockPool::of(db).locks().await?;
    locks.sort_by_key(|lock| lock.key.clone());
    Ok(locks)
}

#[tokio::test]
async fn a_folder_among_the_files_takes_no_lock_away() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let guard = db.dlock(KEY).await?;
    fs::create_dir(scratch.locks().join("folder"))?;
    let locks = listed(&db).await;
    assert!(guard.is_held());
    assert_eq!(locks?.len(), 1);
    Ok(guard.release().await?)
}

/// What Linux tells of all locks moves while it is read: one may be missing now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lock_is_listed_twice_and_hardly_one_missed_while_others_come_and_go() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let (reader, writer) = (db.dlock(SHARED).shared().await?, db.dlock(KEY).await?);
    let elsewhere = Scratch::create().await;
    let others = elsewhere.db().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (many, are_held) = oneshot::channel();
    let coming_and_going = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut many = Some(many);
            let mut held = VecDeque::new();
            for other in 0_i64.. {
                held.push_back(others.dlock(other).await?);
                if held.len() > 300 {
                    many.take().map(|many| many.send(()));
                    drop(held.remove(fastrand::usize(..300)));
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok::<_, dlock::Error>(())
        }
    });
    soon("many locks", are_held).await??;
    const LISTINGS: usize = 300;
    let mut complete = 0;
    for _ in 0..LISTINGS {
        let locks = listed(&db).await?;
        let mut keys: Vec<_> = locks.iter().map(|lock| &lock.key).collect();
        complete += usize::from(keys == [writer.physical_key(), reader.physical_key()]);
        keys.dedup();
        assert_eq!(keys.len(), locks.len(), "one is there twice: {locks:?}");
        let us = i64::from(std::process::id());
        assert!(locks.iter().all(|lock| lock.holder.session == us));
    }
    assert!(complete * 10 >= LISTINGS * 9, "{complete} of {LISTINGS}");
    stop.store(true, Ordering::Relaxed);
    coming_and_going.await??;
    Ok(())
}

/// It looks at the files, and takes none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_is_in_nobodys_way() -> Outcome {
    let scratch = Scratch::create().await;
    let (db, watcher) = (scratch.db().await, scratch.db().await);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            while !stop.load(Ordering::Relaxed) {
                LockPool::of(&watcher).locks().await?;
            }
            Ok::<_, dlock::Error>(())
        }
    });
    let mut refused = 0;
    for _ in 0..2000 {
        drop(db.dlock(KEY).shared().try_acquire().await?);
        refused += usize::from(db.dlock(KEY).try_acquire().await?.is_none());
    }
    stop.store(true, Ordering::Relaxed);
    watching.await??;
    assert_eq!(refused, 0);
    Ok(())
}
