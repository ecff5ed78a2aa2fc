//! Many readers, one writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, Mode};
use dlock_tests::Db;
use tokio::task::{JoinHandle, JoinSet};

use super::{Backend, Outcome, Scene, is_unsupported, soon, waiting};

fn write(db: &impl Db, key: i64) -> JoinHandle<Result<DLockGuard, Error>> {
    let db = db.clone();
    tokio::spawn(async move { db.dlock(key).await })
}

pub(crate) async fn readers_hold_together_within_and_across_pools<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    if !B::SHARED {
        return is_unsupported(&ours.dlock(key).shared().await);
    }
    let mut readers = Vec::new();
    for _ in 0..20 {
        for db in [&ours, &theirs] {
            let reader = soon("a reader", db.dlock(key).shared().into_future()).await??;
            assert_eq!(reader.mode(), Mode::Shared);
            readers.push(reader);
        }
    }
    // After the time in which readers join each other without the server.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for db in [&ours, &theirs] {
        let reader = soon("a late reader", db.dlock(key).shared().into_future()).await??;
        readers.push(reader);
    }
    assert!(readers.iter().all(DLockGuard::is_held));
    assert!(ours.dlock(key).try_acquire().await?.is_none());
    assert!(theirs.dlock(key).try_acquire().await?.is_none());
    for reader in readers {
        reader.release().await?;
    }
    assert!(theirs.dlock(key).try_acquire().await?.is_some());
    Ok(())
}

pub(crate) async fn a_writer_waits_for_every_reader<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    if !B::SHARED {
        return is_unsupported(&ours.dlock(key).shared().await);
    }
    for writing in [&ours, &theirs] {
        let mut readers = Vec::new();
        for _ in 0..5 {
            readers.push(ours.dlock(key).shared().await?);
        }
        let writer = write(writing, key);
        waiting(writing, 1).await?;
        while let Some(reader) = readers.pop() {
            assert!(!writer.is_finished());
            reader.release().await?;
        }
        soon("the writer", writer).await???.release().await?;
    }
    Ok(())
}

pub(crate) async fn a_local_writer_is_not_starved_by_readers<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let ours = scene.db("ours").await;
    is_not_starved(scene, &ours, &ours).await
}

pub(crate) async fn a_writer_elsewhere_is_not_starved_by_readers<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    is_not_starved(scene, &ours, &theirs).await
}

/// Eight tasks read all the time and overlap, so that there is no moment without a reader.
async fn is_not_starved<B: Backend>(scene: &Scene<B>, reading: &B::Db, writing: &B::Db) -> Outcome {
    let (key, stop) = (scene.key(), Arc::new(AtomicBool::new(false)));
    if !B::SHARED {
        return is_unsupported(&reading.dlock(key).shared().await);
    }
    let reads = Arc::new(AtomicUsize::new(0));
    let mut readers: JoinSet<Result<(), Error>> = JoinSet::new();
    for _ in 0..8 {
        let (db, stop, reads) = (reading.clone(), Arc::clone(&stop), Arc::clone(&reads));
        readers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let reader = db.dlock(key).shared().await?;
                reads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(5..15))).await;
                reader.release().await?;
            }
            Ok(())
        });
    }
    for written in 1..=5 {
        super::eventually("the readers read", async || {
            Ok(reads.load(Ordering::Relaxed) > 20 * written)
        })
        .await?;
        let writer = soon("the writer", writing.dlock(key).into_future()).await??;
        writer.release().await?;
    }
    stop.store(true, Ordering::Relaxed);
    for read in soon("the readers", readers.join_all()).await? {
        read?;
    }
    Ok(())
}

pub(crate) async fn readers_stand_behind_a_waiting_writer<B: Backend>(scene: &Scene<B>) -> Outcome {
    let ours = scene.db("ours").await;
    let key = scene.key();
    if !B::SHARED {
        return is_unsupported(&ours.dlock(key).shared().await);
    }
    let reader = ours.dlock(key).shared().await?;
    let writer = write(&ours, key);
    waiting(&ours, 1).await?;
    assert!(ours.dlock(key).shared().try_acquire().await?.is_none());
    let limit = Duration::from_millis(200);
    let late = ours.dlock(key).shared().timeout(limit).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let late = {
        let ours = ours.clone();
        tokio::spawn(async move { ours.dlock(key).shared().await })
    };
    waiting(&ours, 2).await?;
    reader.release().await?;
    let writer = soon("the writer", writer).await???;
    assert!(!late.is_finished());
    assert_eq!(scene.held(&[key]).await?, 1);
    writer.release().await?;
    soon("the reader", late).await???.release().await?;
    Ok(())
}
