//! Promise 7: locks are not re-entrant, whatever the server's own rule is.

use std::time::Duration;

use dlock::{DLockExt, Error};
use dlock_tests::Db;

use super::{Backend, Outcome, Scene};

pub(crate) async fn the_same_task_waits_for_itself<B: Backend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    let key = scene.key();
    let guard = db.dlock(key).await?;
    waits(&db, key).await?;
    waits(&db.clone(), key).await?;
    assert!(guard.is_held());
    // One release is enough, however often it was asked for.
    guard.release().await?;
    assert!(db.dlock(key).try_acquire().await?.is_some());
    // The same under a closure.
    let nested = db.dlock(key).run(async |_lock| {
        let again = db.dlock(key).timeout(Duration::from_millis(50));
        again.run(async |_lock| Ok::<_, Error>(())).await
    });
    let nested = nested.await;
    assert!(matches!(nested, Err(Error::Timeout { .. })), "{nested:?}");
    Ok(())
}

pub(crate) async fn another_pool_of_the_process_waits<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let guard = ours.dlock(key).await?;
    waits(&theirs, key).await?;
    let own = scene.builder("ours", &ours).build();
    assert!(own.dlock(key).try_acquire().await?.is_none());
    guard.release().await?;
    assert!(own.dlock(key).try_acquire().await?.is_some());
    Ok(())
}

async fn waits(db: &impl Db, key: i64) -> Outcome {
    assert!(db.dlock(key).try_acquire().await?.is_none());
    let waited = db.dlock(key).timeout(Duration::from_millis(100)).await;
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    Ok(())
}
