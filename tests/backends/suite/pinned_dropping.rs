//! Promise 3 for pinned locks: where a guard can be dropped, and what may still go on then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use dlock::{DLockExt, Error, LossCause, PinnedGuard};
use dlock_tests::connect;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::sync::oneshot;

use super::at_work::leave_at_work;
use super::runtimes::Elsewhere;
use super::{Failure, OrmBackend, Outcome, Scene, soon};

pub(crate) async fn a_pinned_guard_outlives_its_runtime_but_its_lock_does_not<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (url, key) = (scene.url("ours"), scene.key());
    let (db, guard) = Elsewhere::start()?.end_after(async move {
        let db = connect(&url, 2).await;
        let guard = db.dlock(key).pinned().await?;
        Ok((db, guard))
    })?;
    soon("the loss", guard.lost()).await?;
    assert!(!guard.is_held());
    // Though somebody keeps the guard.
    scene.until_free(key).await?;
    scene.until_sessions("ours", 0).await?;
    assert!(
        soon("an error", guard.execute_unprepared("SELECT 1"))
            .await?
            .is_err()
    );
    let theirs = scene.db("theirs").await;
    assert!(theirs.dlock(key).pinned().try_acquire().await?.is_some());
    scene.until_free(key).await?;

    // The same connection starts anew here; the old guard has no power over the new one.
    let again = soon("the lock", db.dlock(key).pinned().into_future()).await??;
    again.execute_unprepared("SELECT 1").await?;
    let released = guard.release().await;
    assert!(
        matches!(
            released,
            Err(Error::Lost {
                cause: LossCause::Runtime,
                ..
            })
        ),
        "{released:?}"
    );
    assert!(theirs.dlock(key).try_acquire().await?.is_none());
    assert!(again.is_held());
    Ok(again.release().await?)
}

/// And a guard without a runtime can be dropped and released.
pub(crate) async fn a_pinned_guard_loses_its_runtime_in_a_transaction<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (url, key, other) = (scene.url("ours"), scene.key(), scene.key());
    let elsewhere = Elsewhere::start()?;
    let (guard, other) = elsewhere.run(async move {
        let db = connect(&url, 2).await;
        let guard = db.dlock(key).pinned().await?;
        let other = db.dlock(other).pinned().await?;
        let (working, (began, has_begun)) = ((*guard).clone(), oneshot::channel());
        tokio::spawn(async move {
            let txn = working.begin().await.expect("a transaction");
            began.send(()).expect("it is waited for");
            std::future::pending::<()>().await;
            drop(txn);
        });
        drop(has_begun.await);
        Ok((guard, other))
    })?;
    elsewhere.end()?;
    soon("the loss", guard.lost()).await?;
    scene.until_free(key).await?;
    scene.until_sessions("ours", 0).await?;
    on_a_plain_thread(other)?;
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    Ok(())
}

fn on_a_plain_thread(guard: PinnedGuard) -> Outcome {
    let dropped = thread::spawn(move || drop(guard)).join();
    dropped.map_err(|_| Failure::new("the drop panicked"))
}

/// On a plain thread.
pub(crate) async fn a_pinned_guard_dropped_while_its_connection_is_at_work_frees_its_lock<
    B: OrmBackend,
>(
    scene: &Scene<B>,
) -> Outcome {
    leave_at_work(scene, async |guard| on_a_plain_thread(guard)).await
}

/// By a panic.
pub(crate) async fn a_pinned_guard_dropped_by_a_panic_at_work_frees_its_lock<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    leave_at_work(scene, async |guard| {
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _guard = guard;
            panic!("this panic is part of the test");
        }));
        assert!(panicked.is_err());
        Ok(())
    })
    .await
}
