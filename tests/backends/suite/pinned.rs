//! Pinned locks: the guard is the session.

use std::time::Duration;

use dlock::{DLockExt, Error, Key, LockPool, Mode};
use dlock_tests::Way;
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
use tokio::task::JoinSet;

use super::{Failure, OrmBackend, Outcome, Scene, ask, eventually, is_unsupported, needed, soon};

pub(crate) async fn a_pinned_guard_is_a_connection_of_its_own<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let counter = scene.counter(&db).await?;
    // The application's only connection is taken.
    let busy = db.begin().await?;
    let guard = db.dlock(scene.key()).pinned().await?;
    counter.write(&guard, 7).await?;
    assert_eq!(counter.read(&guard).await?, 7);
    let txn = guard.begin().await?;
    counter.write(&txn, 8).await?;
    txn.rollback().await?;
    assert_eq!(counter.read(&guard).await?, 7);
    guard.release().await?;
    busy.rollback().await?;
    Ok(counter.remove(&db).await?)
}

pub(crate) async fn pinned_locks_wait_for_their_turn<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    let pool = LockPool::builder(&db).max_pinned_sessions(1).install();
    let keys = scene.keys(2);
    let first = db.dlock(keys[0]).pinned().await?;
    assert!(db.dlock(keys[1]).pinned().try_acquire().await?.is_none());
    let limit = Duration::from_millis(200);
    let late = db.dlock(keys[1]).pinned().timeout(limit).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let second = tokio::spawn({
        let (db, key) = (db.clone(), keys[1]);
        async move { db.dlock(key).pinned().await }
    });
    super::waiting(&db, 1).await?;
    assert_eq!(pool.status().pinned_sessions, 1);
    first.release().await?;
    let second = soon("the turn", second).await?;
    second??.release().await?;
    pool.close().await;
    Ok(())
}

/// Twenty handlers, an application with two connections, and four pinned sessions.
pub(crate) async fn handlers_with_pinned_locks_starve_nobody<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 2).await;
    let pool = LockPool::of(&db);
    let (keys, common) = (scene.keys(5), scene.key());
    let mut handlers: JoinSet<Result<(), DbErr>> = JoinSet::new();
    for handler in 0..20 {
        let (db, key) = (db.clone(), keys[handler % keys.len()]);
        handlers.spawn(async move {
            for _ in 0..3 {
                let work = db.dlock(key).pinned().run(async |guard| {
                    guard.execute_unprepared("SELECT 1").await?;
                    db.execute_unprepared("SELECT 1").await?;
                    let nested = guard.dlock(common).run(async |_lock| {
                        let txn = guard.begin().await?;
                        txn.execute_unprepared("SELECT 1").await?;
                        txn.commit().await
                    });
                    nested.await
                });
                work.await?;
            }
            Ok(())
        });
    }
    let most = async {
        let mut most = 0;
        loop {
            most = most.max(pool.status().pinned_sessions);
            assert!(most <= 4, "{most} pinned sessions");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        handled = soon("the handlers", handlers.join_all()) => {
            for handled in handled? {
                handled?;
            }
        }
        never = most => never,
    }
    Ok(())
}

pub(crate) async fn the_status_counts_pinned_locks<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let pool = LockPool::of(&ours);
    let (key, foreign) = (scene.key(), scene.key());
    let held = theirs.dlock(foreign).await?;
    let invalid = ours.dlock("").pinned().await;
    assert!(
        matches!(invalid, Err(Error::InvalidKey { .. })),
        "{invalid:?}"
    );
    scene.has_at_most(0, "ours").await?;
    assert_eq!(pool.status().counters.sessions_opened, 0);

    let guard = ours.dlock(key).pinned().await?;
    let status = pool.status();
    assert_eq!(
        (status.pinned_sessions, status.held, status.waiters),
        (1, 1, 0),
        "{status}"
    );
    assert_eq!(status.counters.acquired, 1);
    assert!(status.to_string().contains("1 pinned"), "{status}");
    if B::LOSABLE {
        assert_eq!(
            (status.sessions, status.counters.sessions_opened),
            (0, 1),
            "{status}"
        );
        scene.until_sessions("ours", 1).await?;
    }
    let limit = Duration::from_millis(100);
    let late = ours.dlock(foreign).pinned().timeout(limit).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    assert!(ours.dlock(foreign).pinned().try_acquire().await?.is_none());
    assert_eq!(pool.status().counters.timeouts, 1);

    let waiter = tokio::spawn({
        let ours = ours.clone();
        async move { ours.dlock(foreign).pinned().await }
    });
    eventually("it is asked for", async || Ok(pool.status().waiters > 0)).await?;
    let asked = pool.status();
    held.release().await?;
    let second = soon("the lock", waiter).await???;
    assert_eq!(asked.held, 1, "{asked}");
    assert_eq!((pool.status().held, pool.status().waiters), (2, 0));
    second.release().await?;
    guard.release().await?;
    eventually("no pinned session is left", async || {
        Ok(pool.status().pinned_sessions == 0)
    })
    .await?;
    let status = pool.status();
    assert_eq!((status.held, status.waiters), (0, 0), "{status}");
    let counters = status.counters;
    assert_eq!((counters.acquired, counters.timeouts), (2, 1), "{status}");
    assert_eq!(
        (
            counters.lost,
            counters.sessions_lost,
            counters.sessions_refused
        ),
        (0, 0, 0)
    );
    assert_eq!(LockPool::of(&ours.clone()).status().counters, counters);
    Ok(())
}

pub(crate) async fn the_listing_names_pinned_locks<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = format!("{} listed", scene.name);
    let modes = match B::SHARED {
        true => &[Mode::Exclusive, Mode::Shared][..],
        false => &[Mode::Exclusive],
    };
    for mode in modes {
        let guard = ours.dlock(&key).mode(*mode).pinned().await?;
        assert_eq!(
            (guard.key(), guard.mode()),
            (&Key::from(key.as_str()), *mode)
        );
        let listed = LockPool::of(&ours).locks().await?;
        let mine = listed.iter().find(|lock| lock.key == *guard.physical_key());
        let mine = mine.ok_or_else(|| Failure::new(format!("it is not listed: {listed:?}")))?;
        assert_eq!((mine.granted, mine.mode), (true, *mode));
        assert_eq!(mine.name, Some(Key::from(key.as_str())));
        let holder = B::holder(&scene.application("ours"));
        assert_eq!(mine.holder.application, holder);
        let seen = LockPool::of(&theirs).locks().await?;
        let seen = seen.iter().find(|lock| lock.key == *guard.physical_key());
        assert!(seen.is_some_and(|lock| lock.granted && lock.name.is_none()));
        guard.release().await?;
        let listed = LockPool::of(&ours).locks().await?;
        assert!(listed.iter().all(|lock| lock.key != mine.key));
    }
    Ok(())
}

pub(crate) async fn a_pinned_lock_is_listed_with_its_session<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let key = format!("{} listed", scene.name);
    let guard = db.dlock(key).pinned().await?;
    let session: i64 = ask(&*guard, needed(B::SESSION)).await?;
    let listed = LockPool::of(&db).locks().await?;
    let mine = listed.iter().find(|lock| lock.key == *guard.physical_key());
    let mine = mine.ok_or_else(|| Failure::new(format!("it is not listed: {listed:?}")))?;
    assert_eq!(mine.holder.session, session);
    Ok(guard.release().await?)
}

pub(crate) async fn a_namespace_is_a_prefix_of_pinned_locks<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let pool = LockPool::builder(&ours).namespace("billing").build();
    let key = scene.key();
    let guard = pool.dlock(key).pinned().await?;
    assert_eq!(guard.key(), &Key::from(key));
    let within = format!("billing:{key}");
    assert!(theirs.dlock(&within).try_acquire().await?.is_none());
    assert!(theirs.dlock(key).pinned().try_acquire().await?.is_some());
    assert!(pool.dlock(key).try_acquire().await?.is_none());
    Ok(guard.release().await?)
}

/// In one pool and across two; a pinned writer waits for pinned readers.
pub(crate) async fn pinned_readers_share<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    if !B::SHARED {
        let refused = ours.dlock(key).pinned().shared().await;
        assert_eq!(LockPool::of(&ours).status().counters.sessions_opened, 0);
        return is_unsupported(&refused);
    }
    let readers = [
        ours.dlock(key).pinned().shared().await?,
        ours.dlock(key).shared().pinned().await?,
        theirs.dlock(key).shared().pinned().await?,
    ];
    let plain = Way::SHARED.try_acquire(&theirs, key).await?;
    let plain = plain.ok_or_else(|| Failure::new("a reader is refused"))?;
    let writer = tokio::spawn({
        let ours = ours.clone();
        async move { ours.dlock(key).pinned().await }
    });
    eventually("it waits", async || {
        Ok(LockPool::of(&ours).status().waiters > 0)
    })
    .await?;
    for reader in readers {
        assert!(!writer.is_finished());
        reader.execute_unprepared("SELECT 1").await?;
        reader.release().await?;
    }
    assert!(!writer.is_finished());
    plain.release().await?;
    let writer = soon("the lock", writer).await???;
    assert!(
        theirs
            .dlock(key)
            .pinned()
            .shared()
            .try_acquire()
            .await?
            .is_none()
    );
    Ok(writer.release().await?)
}
