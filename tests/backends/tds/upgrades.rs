//! Update locks, beside readers, and what they become.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool, Mode, OracleMode};
use dlock_tds::Mode as Held;
use sea_orm::{DbBackend, MockDatabase};

use super::{Of, Scene};
use crate::suite::{Outcome, elapsed, soon};

/// A reader of another pool, and an update lock beside it.
async fn beside_a_reader() -> Outcome<(Scene, DLockGuard, LockPool, DLockGuard)> {
    let scene = Scene::open().await?;
    let reader = scene.pool("theirs").dlock("k").shared().await?;
    let pool = scene.pool("ours");
    let guard = pool.dlock("k").update().await?;
    Ok((scene, reader, pool, guard))
}

#[tokio::test]
async fn an_update_lock_is_beside_readers_and_nothing_else() -> Outcome {
    let (scene, reader, pool, guard) = beside_a_reader().await?;
    assert_eq!(guard.mode(), Mode::Update);
    for pool in [&pool, &scene.pool("another")] {
        let readers = pool.dlock("k").shared().try_acquire().await?;
        assert!(readers.is_some());
        for excluded in [Mode::Update, Mode::Exclusive] {
            let refused = pool.dlock("k").mode(excluded).try_acquire().await?;
            assert!(refused.is_none(), "{excluded}");
        }
    }
    guard.release().await?;
    let theirs = scene.pool("another").dlock("k").update().await?;
    assert!(pool.dlock("k").update().try_acquire().await?.is_none());
    theirs.release().await?;
    reader.release().await?;
    scene.is_left_clean().await
}

#[tokio::test]
async fn an_upgrade_waits_for_the_readers_and_keeps_new_ones_out() -> Outcome {
    let (scene, reader, pool, mut guard) = beside_a_reader().await?;
    let upgraded = tokio::spawn(async move {
        guard.upgrade().await?;
        Ok::<_, Error>(guard)
    });
    scene.until_waiting("k", 1).await?;
    assert!(!upgraded.is_finished());
    for pool in [&pool, &scene.pool("another")] {
        assert!(pool.dlock("k").shared().try_acquire().await?.is_none());
    }
    reader.release().await?;
    let guard = soon("the upgrade", upgraded).await???;
    assert_eq!(guard.mode(), Mode::Exclusive);
    let holder = scene.holder("k").expect("it is held");
    assert_eq!((holder.mode, holder.count), (Held::Exclusive, 2));
    guard.release().await?;
    scene.is_left_clean().await?;
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(pool.dlock("k").await?.release().await?)
}

#[tokio::test]
async fn who_reads_waits_until_the_upgraded_lock_is_released() -> Outcome {
    let scene = Scene::open().await?;
    let (pool, theirs) = (scene.pool("ours"), scene.pool("theirs"));
    let mut guard = pool.dlock("k").update().await?;
    guard.upgrade().await?;
    // Nothing more is asked for.
    let so_far = scene.asked(Of::Wait) + scene.asked(Of::Try);
    let again = guard.upgrade().await;
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(scene.asked(Of::Wait) + scene.asked(Of::Try), so_far);
    let reader = tokio::spawn(async move { theirs.dlock("k").shared().await });
    scene.until_waiting("k", 1).await?;
    guard.release().await?;
    soon("the reader", reader).await???.release().await?;
    scene.is_left_clean().await
}

#[tokio::test]
async fn an_upgrade_whose_time_is_over_leaves_the_lock_as_it_was() -> Outcome {
    let (scene, reader, pool, mut guard) = beside_a_reader().await?;
    let limit = Duration::from_millis(300);
    let (upgraded, took) = elapsed(guard.upgrade().timeout(limit).acquire()).await;
    assert!(
        matches!(upgraded, Err(Error::Timeout { .. })),
        "{upgraded:?}"
    );
    assert!(
        took >= limit && took < limit + Duration::from_secs(3),
        "{took:?}"
    );
    is_an_update_lock_still(&scene, &guard).await?;
    reader.release().await?;
    // It is free to become what it could not before.
    soon("the upgrade", guard.upgrade().acquire()).await??;
    guard.release().await?;
    scene.is_left_clean().await?;
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}

#[tokio::test]
async fn an_upgrade_with_no_time_is_one_try() -> Outcome {
    let (scene, reader, _pool, mut guard) = beside_a_reader().await?;
    let (so_far, waits) = (scene.asked(Of::Try), scene.asked(Of::Wait));
    let upgraded = guard.upgrade().timeout(Duration::ZERO).await;
    assert!(
        matches!(upgraded, Err(Error::Timeout { .. })),
        "{upgraded:?}"
    );
    let asked = (scene.asked(Of::Try), scene.asked(Of::Wait));
    assert_eq!(asked, (so_far + 1, waits));
    is_an_update_lock_still(&scene, &guard).await?;
    reader.release().await?;
    guard.upgrade().timeout(Duration::ZERO).await?;
    guard.release().await?;
    scene.is_left_clean().await
}

/// It is held once, and readers are let in beside it.
async fn is_an_update_lock_still(scene: &Scene, guard: &DLockGuard) -> Outcome {
    assert!(guard.is_held());
    assert_eq!(guard.mode(), Mode::Update);
    soon("the end of the wait", scene.locks().until_waiting("k", 0)).await?;
    let mut holders = scene.locks().holders("k").into_iter();
    let ours = holders.find(|held| held.mode == Held::Update);
    assert_eq!(ours.map(|held| held.count), Some(1));
    let reader = scene
        .pool("a reader")
        .dlock("k")
        .shared()
        .try_acquire()
        .await?;
    assert!(reader.is_some());
    Ok(())
}

/// The upgrade waits on a session of its own, so that other locks go on.
#[tokio::test]
async fn other_locks_are_acquired_while_an_upgrade_waits() -> Outcome {
    let (scene, reader, pool, mut guard) = beside_a_reader().await?;
    let beside = pool.dlock("beside").await?;
    let upgraded = tokio::spawn(async move {
        guard.upgrade().await?;
        Ok::<_, Error>(guard)
    });
    scene.until_waiting("k", 1).await?;
    pool.dlock("a third").await?.release().await?;
    reader.release().await?;
    let guard = soon("the upgrade", upgraded).await???;
    assert_eq!(guard.mode(), Mode::Exclusive);
    guard.release().await?;
    beside.release().await?;
    scene.is_left_clean().await?;
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}

#[tokio::test]
async fn what_is_shared_cannot_be_upgraded() -> Outcome {
    let scene = Scene::open().await?;
    let mut guard = scene.pool("ours").dlock("k").shared().await?;
    let refused = guard.upgrade().await;
    let Err(Error::Unsupported { backend, hint, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(backend, "SQL Server");
    assert!(hint.contains(".update()"), "{hint}");
    assert!(guard.is_held());
    guard.release().await?;
    let refused = scene.pool("ours").dlock("k").mode(OracleMode::SX).await;
    let Err(Error::Unsupported { hint, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(hint.contains("Oracle"), "{hint}");
    scene.is_left_clean().await
}

#[tokio::test]
async fn other_databases_say_what_they_do_not_have() -> Outcome {
    for (database, name) in [
        (DbBackend::Postgres, "PostgreSQL"),
        (DbBackend::MySql, "MySQL"),
        (DbBackend::Sqlite, "SQLite"),
    ] {
        let db = MockDatabase::new(database).into_connection();
        for (mode, has_it) in [
            (Mode::Update, "SQL Server has them"),
            (OracleMode::SX.into(), "Oracle has it"),
        ] {
            for refused in [
                db.dlock("k").mode(mode).await.map(Some),
                db.dlock("k").mode(mode).try_acquire().await,
            ] {
                let Err(Error::Unsupported { backend, hint, .. }) = refused else {
                    panic!("{refused:?}");
                };
                assert!(backend.contains(name), "{backend}");
                assert!(hint.contains(has_it), "{hint}");
            }
        }
        let mut guard = db.dlock("k").await?;
        let refused = guard.upgrade().await;
        let Err(Error::Unsupported {
            backend,
            feature,
            hint,
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert!(backend.contains(name), "{backend}");
        assert_eq!(feature, "upgrades of locks");
        assert!(hint.contains("release the lock"), "{hint}");
        assert!(guard.is_held());
        guard.release().await?;
    }
    Ok(())
}
