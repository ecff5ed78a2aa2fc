//! A database on a FUSE file system, on which a hard link is another inode to the kernel: a lock does not follow it.
//!
//! `tests/run` lists these tests as not run where nothing can be mounted by bindfs.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Mode};
use dlock_tests::{Counter, Guarded, Way};
use tokio::task::JoinSet;

use super::mount::Mounted;
use super::races::{POOLS, TASKS, hammer, pools};
use crate::suite::{Outcome, Peer, soon};

const KEY: i64 = 42;
const NAME: &str = "42";

/// How it is mounted: with the defaults, with many threads, and so that the kernel asks seldom.
const BINDFS: [&[&str]; 3] = [
    &["bindfs"],
    &["bindfs", "--multithreaded"],
    &["bindfs", "-o", "attr_timeout=60,entry_timeout=60"],
];

/// Half of the applications are processes of their own.
async fn raised(mounted: &Mounted, key: &str) -> Outcome<i64> {
    const ROUNDS: usize = 40;
    let scratch = &mounted.scratch;
    let db = scratch.db().await;
    let counter = Counter::named("fuse");
    counter.create(&db).await?;
    let guarded = match key.strip_prefix("mixed:") {
        Some(key) => Guarded::InAllWays(key.parse()?),
        None => Guarded::By(key.parse()?),
    };
    let mut peers: Vec<Peer> = Vec::new();
    for _ in 0..3 {
        peers.push(scratch.peer().await?);
    }
    let mut ours = JoinSet::new();
    for _ in 0..3 {
        let (db, counter) = (scratch.db().await, counter.clone());
        ours.spawn(async move { counter.raise_in_tasks(&db, guarded, 1, ROUNDS).await });
    }
    for peer in &mut peers {
        let order = format!("raise fuse {key} 1 {ROUNDS}");
        peer.order(order).await?;
    }
    for done in ours.join_all().await {
        done?;
    }
    for peer in &mut peers {
        peer.expect("raised").await?;
    }
    let raised = counter.read(&db).await?;
    counter.remove(&db).await?;
    Ok(raised)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_loses_no_update_to_six_applications() -> Outcome {
    for command in BINDFS {
        let mounted = Mounted::create(command).await?;
        assert_eq!(raised(&mounted, "42").await?, 240, "{command:?}");
        assert_eq!(raised(&mounted, "mixed:42").await?, 240, "{command:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_is_alone_where_readers_leave_their_file() -> Outcome {
    const ROUNDS: usize = 20;
    for command in BINDFS {
        let mounted = Mounted::create(command).await?;
        let db = mounted.scratch.db().await;
        let room = hammer(&pools(&db), ROUNDS, 6).await?;
        let entered = room.entered.load(Ordering::SeqCst);
        assert_eq!(entered, POOLS * TASKS * ROUNDS);
    }
    Ok(())
}

#[tokio::test]
async fn a_new_lock_excludes_another_process_in_every_pair_of_modes() -> Outcome {
    let mounted = Mounted::create(BINDFS[0]).await?;
    let db = mounted.scratch.db().await;
    let mut peer = mounted.scratch.peer().await?;
    let mut key = 0;
    for (ours, theirs, coexist) in [
        (Way::PLAIN, Way::PLAIN, false),
        (Way::PLAIN, Way::SHARED, false),
        (Way::SHARED, Way::PLAIN, false),
        (Way::SHARED, Way::SHARED, true),
        (Way::PINNED, Way::PINNED, false),
    ] {
        key += 1;
        let held = ours.try_acquire(&db, key).await?.expect("nobody holds it");
        let both = peer.try_hold(key, theirs).await?;
        assert_eq!(both, coexist, "{ours:?} {theirs:?}");
        held.release().await?;
        if !both {
            peer.hold(key, theirs).await?;
        }
        peer.release(key).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_waiter_gets_the_lock_when_it_is_released_or_its_holder_dies() -> Outcome {
    let mounted = Mounted::create(BINDFS[0]).await?;
    let db = mounted.scratch.db().await;
    let limit = Duration::from_millis(200);
    for kill in [false, true] {
        let mut peer = mounted.scratch.peer().await?;
        peer.hold(KEY, Way::PLAIN).await?;
        let waited = db.dlock(KEY).timeout(limit).await;
        assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
        let waiter = db.dlock(KEY).into_future();
        let end = async {
            tokio::time::sleep(limit).await;
            match kill {
                true => peer.kill().await,
                false => peer.release(KEY).await,
            }
        };
        let (guard, ended) = tokio::join!(soon("the lock", waiter), end);
        ended?;
        guard??.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_guard_hears_that_its_file_was_deleted_through_the_mount() -> Outcome {
    for command in BINDFS {
        let mounted = Mounted::create(command).await?;
        let scratch = &mounted.scratch;
        let db = scratch.db().await;
        let keepalive = Duration::from_millis(300);
        LockPool::builder(&db).keepalive(keepalive).install();

        let guard = db.dlock(KEY).await?;
        fs::remove_file(scratch.lock_file(NAME))?;
        soon("the loss", guard.lost()).await?;
        assert!(!guard.is_held());
        drop(guard);

        let guard = db.dlock(KEY).await?;
        fs::remove_file(scratch.lock_file(NAME))?;
        let theirs = scratch.db().await;
        let next = theirs.dlock(KEY).await?;
        let released = guard.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        assert!(db.dlock(KEY).try_acquire().await?.is_none());
        next.release().await?;
        db.dlock(KEY).await?.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_listing_has_every_holder_and_no_lost_lock() -> Outcome {
    const SHARED: i64 = 43;
    let mounted = Mounted::create(BINDFS[0]).await?;
    let scratch = &mounted.scratch;
    let (db, mut peer) = (scratch.db().await, scratch.peer().await?);
    let (ourselves, other) = (i64::from(std::process::id()), i64::from(peer.id()?));
    let guard = db.dlock(KEY).await?;
    let reader = db.dlock(SHARED).shared().await?;
    peer.hold(SHARED, Way::SHARED).await?;
    let listed = async || -> Outcome<HashSet<(String, Mode, i64)>> {
        let locks = LockPool::of(&db).locks().await?.into_iter();
        let held = locks.map(|lock| (lock.key.to_string(), lock.mode, lock.holder.session));
        Ok(held.collect())
    };
    let shared = |process| (SHARED.to_string(), Mode::Shared, process);
    let all = [
        (NAME.to_owned(), Mode::Exclusive, ourselves),
        shared(ourselves),
        shared(other),
    ];
    assert_eq!(listed().await?, HashSet::from(all));

    // bindfs keeps the file under another name as long as it is open.
    fs::remove_file(scratch.lock_file(NAME))?;
    let rest = [shared(ourselves), shared(other)];
    assert_eq!(listed().await?, HashSet::from(rest));
    drop(guard);
    reader.release().await?;
    peer.release(SHARED).await?;
    assert_eq!(listed().await?, HashSet::new());
    Ok(())
}
