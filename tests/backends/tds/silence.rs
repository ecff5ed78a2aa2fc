//! A server that keeps the connection and answers nothing on it any more.

use std::time::Duration;

use dlock::{DLockExt, Error};
use dlock_tds::Reply;
use tokio::time::Instant;

use super::{Of, Scene};
use crate::suite::{Outcome, in_one_of, soon};

const KEEPALIVE: Duration = Duration::from_millis(400);

/// For a machine that is busy.
const A_LITTLE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_request_that_is_not_answered_goes_to_another_session_within_the_keepalive() -> Outcome {
    in_one_of(3, KEEPALIVE + A_LITTLE, async || {
        let scene = Scene::open().await?;
        let pool = scene.impatient("ours", KEEPALIVE);
        let beside = pool.dlock("beside").await?;
        let silent = scene.holder("beside").expect("it is held").session;
        // It is granted, and not said.
        scene.distort(Of::Try, |_| Reply::Never);
        let start = Instant::now();
        let guard = soon("the lock", pool.dlock("k")).await??;
        let took = start.elapsed();
        soon("the loss of the lock beside", beside.lost()).await?;
        scene.until_ended(silent).await?;
        assert!(guard.is_held());
        assert_ne!(scene.holder("k").expect("it is held").session, silent);
        guard.release().await?;
        scene.is_left_clean().await?;
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn a_wait_that_is_never_answered_ends_after_its_slice_and_goes_on_elsewhere() -> Outcome {
    let scene = Scene::open().await?;
    let theirs = scene.pool("theirs").dlock("k").await?;
    let pool = scene.impatient("ours", KEEPALIVE);
    scene.say(Of::Wait, Reply::Never);
    let waiter = tokio::spawn(async move { pool.dlock("k").await });
    scene.until_asked(Of::Wait, 2).await?;
    scene.until_waiting("k", 1).await?;
    theirs.release().await?;
    soon("the lock", waiter).await???.release().await?;
    scene.is_left_clean().await
}

#[tokio::test]
async fn a_release_that_is_not_answered_is_a_loss_within_the_keepalive() -> Outcome {
    in_one_of(3, KEEPALIVE + A_LITTLE, async || {
        let scene = Scene::open().await?;
        let pool = scene.impatient("ours", KEEPALIVE);
        let guard = pool.dlock("k").await?;
        scene.say(Of::Release, Reply::Never);
        let start = Instant::now();
        let released = soon("the answer", guard.release()).await?;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        let took = start.elapsed();
        scene.is_left_clean().await?;
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn a_holder_that_the_server_is_silent_to_reports_its_loss_within_the_keepalive() -> Outcome {
    in_one_of(3, KEEPALIVE + A_LITTLE, async || {
        let scene = Scene::open().await?;
        let pool = scene.impatient("ours", KEEPALIVE);
        let guard = pool.dlock("k").await?;
        scene.say(Of::Life, Reply::Never);
        let start = Instant::now();
        soon("the loss", guard.lost()).await?;
        let took = start.elapsed();
        assert!(took >= KEEPALIVE / 2, "{took:?}");
        scene.is_left_clean().await?;
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn a_holder_whose_server_answers_keeps_its_lock_beyond_the_keepalive() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.impatient("ours", KEEPALIVE);
    let guard = pool.dlock("k").await?;
    scene.until_asked(Of::Life, 6).await?;
    assert!(guard.is_held());
    Ok(guard.release().await?)
}

/// Another session answers in the place of the one that holds the lock, as behind a proxy.
#[tokio::test]
async fn a_sign_of_life_of_another_session_is_none() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.impatient("ours", KEEPALIVE);
    let guard = pool.dlock("k").await?;
    scene.distort(Of::Life, |reply| {
        let row = reply.parts().expect("a plain reply").to_vec();
        let [dlock_tds::Part::Rows(mut rows)] = <[_; 1]>::try_from(row).expect("one row set")
        else {
            panic!("rows");
        };
        rows.rows[0][0] = 4242_i16.into();
        rows.into()
    });
    soon("the loss", guard.lost()).await?;
    scene.is_left_clean().await
}
