//! What a session makes of each status that the server can give to a release.

use dlock::{DLockExt, Error};
use dlock_tds::{Reply, ServerError, Value};

use super::statuses::doubtful;
use super::{Of, Scene, row};
use crate::suite::{Outcome, soon};

/// Whether the server has carried it out or not.
#[tokio::test]
async fn a_release_that_is_not_confirmed_is_a_loss_and_its_session_is_dropped() -> Outcome {
    let more = [
        row(-1),
        row(-2),
        row(-3),
        ServerError::new(823, 24, "I/O error").into(),
    ];
    let replies = doubtful().into_iter().map(|(reply, _)| reply);
    for reply in replies.chain(more) {
        for is_carried_out in [false, true] {
            unconfirmed(reply.clone(), is_carried_out).await?;
        }
    }
    Ok(())
}

async fn unconfirmed(reply: Reply, is_carried_out: bool) -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let (guard, beside) = (pool.dlock("k").await?, pool.dlock("beside").await?);
    let session = scene.holder("k").expect("it is held").session;
    match is_carried_out {
        true => scene.distort(Of::Release, move |_| reply.clone()),
        false => scene.say(Of::Release, reply),
    }
    let released = soon("the answer", guard.release()).await?;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    soon("the loss of the lock beside", beside.lost()).await?;
    scene.until_ended(session).await?;
    scene.is_left_clean().await?;
    assert_eq!(scene.asked(Of::Release), 1);
    pool.dlock("k").await?.release().await?;
    let counters = pool.status().counters;
    assert_eq!((counters.sessions_opened, counters.sessions_lost), (2, 1));
    Ok(())
}

#[tokio::test]
async fn a_lock_that_the_server_does_not_know_any_more_is_a_loss() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    // It says so, and has not granted anything.
    scene.say(Of::Try, row(0));
    let guard = pool.dlock("k").await?;
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    Ok(pool.dlock("k").await?.release().await?)
}

/// A row for two of three.
#[tokio::test]
async fn a_release_without_a_status_of_its_own_is_a_loss() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let (one, two) = (pool.dlock("one").await?, pool.dlock("two").await?);
    let three = pool.dlock("three").await?;
    scene.distort(Of::Release, |_| Reply::row([0, 0].map(Value::Int)));
    let (one, two, three) = tokio::join!(one.release(), two.release(), three.release());
    assert_eq!(scene.asked(Of::Release), 1);
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert!(matches!(three, Err(Error::Lost { .. })), "{three:?}");
    scene.is_left_clean().await
}

#[tokio::test]
async fn a_guard_that_is_dropped_into_a_doubtful_answer_ends_its_session_too() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let (guard, beside) = (pool.dlock("k").await?, pool.dlock("beside").await?);
    scene.say(Of::Release, row(-999));
    drop(guard);
    soon("the loss of the lock beside", beside.lost()).await?;
    scene.is_left_clean().await
}
