//! The listing: who holds what, in whatever process.

use std::fs;

use dlock::{DLockExt, Key, LockPool, Mode, ServerLock};
use dlock_tests::Way;
use sea_orm::DatabaseConnection;

use super::database::{Scratch, held};
use crate::suite::{Outcome, Peer, eventually};

const KEY: i64 = 42;
const NAME: &str = "42";
const SHARED: i64 = 43;

async fn listed(db: &DatabaseConnection) -> Outcome<Vec<ServerLock>> {
    let mut locks = LockPool::of(db).locks().await?;
    locks.sort_by_key(|lock| (lock.key.clone(), lock.holder.session));
    Ok(locks)
}

fn is_of(lock: &ServerLock, peer: &Peer) -> Outcome {
    assert_eq!(lock.holder.session, i64::from(peer.id()?));
    assert_eq!(lock.holder.application, "dlock-peer");
    assert!(lock.granted);
    Ok(())
}

#[tokio::test]
async fn a_lock_of_another_process_is_listed_with_that_process() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let mut peer = scratch.peer().await?;
    assert_eq!(listed(&db).await?, []);
    peer.hold(KEY, Way::PLAIN).await?;
    peer.hold(SHARED, Way::SHARED).await?;
    let locks = listed(&db).await?;
    assert_eq!(locks.len(), 2, "{locks:?}");
    for (lock, (key, mode)) in locks
        .iter()
        .zip([(KEY, Mode::Exclusive), (SHARED, Mode::Shared)])
    {
        is_of(lock, &peer)?;
        assert_eq!((lock.key.to_string(), lock.mode), (key.to_string(), mode));
        // What this process has never asked for has no name here.
        assert_eq!(lock.name, None);
    }
    peer.release(KEY).await?;
    peer.release(SHARED).await?;
    assert_eq!(listed(&db).await?, []);
    Ok(())
}

#[tokio::test]
async fn every_reader_is_listed() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let mut peers = [scratch.peer().await?, scratch.peer().await?];
    for peer in &mut peers {
        peer.hold(KEY, Way::SHARED).await?;
    }
    let reader = ours.dlock(KEY).shared().await?;
    for db in [&ours, &theirs] {
        let locks = listed(db).await?;
        assert!(locks.iter().all(|lock| lock.mode == Mode::Shared));
        let mut holders: Vec<i64> = locks.iter().map(|lock| lock.holder.session).collect();
        let mut expected = vec![i64::from(std::process::id())];
        for peer in &peers {
            expected.push(peer.id()?.into());
        }
        holders.sort_unstable();
        expected.sort_unstable();
        assert_eq!(holders, expected);
    }
    Ok(reader.release().await?)
}

#[tokio::test]
async fn our_own_lock_is_listed_with_our_name_for_it() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let guard = ours.dlock(KEY).await?;
    let locks = listed(&ours).await?;
    let [lock] = &locks[..] else {
        panic!("{locks:?}");
    };
    assert_eq!(lock.name, Some(Key::from(KEY)));
    assert_eq!(lock.key, *guard.physical_key());
    assert_eq!((lock.mode, lock.granted), (Mode::Exclusive, true));
    assert_eq!(lock.holder.session, i64::from(std::process::id()));
    // The other pool knows its own names only.
    assert_eq!(listed(&theirs).await?[0].name, None);
    guard.release().await?;
    assert_eq!(listed(&ours).await?, []);
    Ok(())
}

#[tokio::test]
async fn a_waiter_is_no_holder() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let guard = db.dlock(KEY).await?;
    let mut peer = scratch.peer().await?;
    peer.wait_for(KEY).await?;
    let turn = scratch.turn_file(NAME);
    eventually("it waits", async || Ok(held(&turn) == 1)).await?;
    let held: Vec<ServerLock> = listed(&db).await?;
    let held = held.iter().filter(|lock| lock.granted);
    let holders: Vec<i64> = held.map(|lock| lock.holder.session).collect();
    assert_eq!(holders, [i64::from(std::process::id())]);
    guard.release().await?;
    peer.expect("held").await
}

#[tokio::test]
async fn what_dead_processes_and_readers_left_is_not_listed() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let mut peer = scratch.peer().await?;
    peer.hold(KEY, Way::PLAIN).await?;
    peer.hold(SHARED, Way::SHARED).await?;
    peer.kill().await?;
    drop(db.dlock("read").shared().await?);
    fs::write(scratch.locks().join("not-ours"), "left")?;
    assert_eq!(scratch.files().len(), 4);
    assert_eq!(listed(&db).await?, []);
    Ok(())
}

#[tokio::test]
async fn nothing_is_listed_where_the_directory_was_deleted() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    db.dlock(KEY).await?.release().await?;
    fs::remove_dir_all(scratch.locks())?;
    assert_eq!(listed(&db).await?, []);
    Ok(())
}
