//! `run`: what is acquired is released, whatever the body does.

use std::time::Duration;

use dlock::{DLockExt, Error};
use sea_orm::DbErr;

use super::{Backend, Outcome, Scene};

/// Python's `with`.
pub(crate) async fn a_body_that_returns_or_fails_has_its_result_passed_on_and_its_lock_freed<
    B: Backend,
>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let result = ours.dlock(key).run(async |lock| {
        assert!(lock.is_held());
        let tried = theirs.dlock(key).try_acquire().await?;
        Ok::<_, Error>(tried.is_none())
    });
    assert!(result.await?, "it holds the lock");
    // Free when `run` is over, not soon afterwards.
    let got = theirs.dlock(key).try_acquire().await?;
    got.expect("the lock is free").release().await?;

    let failing = ours.dlock(key).run(async |_lock| {
        let failure = DbErr::Custom("this failure is part of the test".into());
        Err::<(), _>(failure)
    });
    let failure = failing.await.err().map(|failure| failure.to_string());
    assert!(failure.is_some_and(|text| text.contains("part of the test")));
    let got = theirs.dlock(key).try_acquire().await?;
    got.expect("the lock is free").release().await?;
    Ok(())
}

pub(crate) async fn a_body_that_panics_frees_its_lock<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let task = tokio::spawn(async move {
        let panicking = ours
            .dlock(key)
            .run(async |_lock| -> Result<(), Error> { panic!("this panic is part of the test") });
        panicking.await
    });
    assert!(task.await.is_err_and(|error| error.is_panic()));
    let guard = theirs.dlock(key).timeout(super::PATIENCE).await?;
    Ok(guard.release().await?)
}

/// Python's `contextual_timeout`.
pub(crate) async fn a_body_whose_lock_is_not_had_in_time_does_not_run<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let held = theirs.dlock(key).await?;
    let lock = ours.dlock(key).timeout(Duration::from_millis(100));
    let ran = lock.run(async |_lock| -> Result<(), Error> { panic!("without its lock") });
    let ran = ran.await;
    assert!(matches!(ran, Err(Error::Timeout { .. })), "{ran:?}");
    held.release().await?;
    let lock = ours.dlock(key).timeout(super::PATIENCE);
    Ok(lock.run(async |_lock| Ok::<_, Error>(())).await?)
}
