//! What a session makes of each status that the server can give to a try.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tds::{Kind, Part, Reply, ResultSet, ServerError, Value};

use super::{Of, Scene, row, why};
use crate::suite::{Failure, Outcome, soon};

/// Answers after which nobody knows what is held, and what their asker reads of them.
pub(super) fn doubtful() -> Vec<(Reply, &'static str)> {
    let error =
        |number, class, message: &str| Reply::from(ServerError::new(number, class, message));
    let no_row = ResultSet::new([("", Kind::Int)]);
    vec![
        (row(-2), "cancelled (-2)"),
        (row(-999), "the server answered -999"),
        (row(7), "the server answered 7"),
        (row(-1000), "the server answered -1000"),
        (row(i32::MIN), "the server answered -2147483648"),
        (Reply::row([Value::Null]), "the server answered nothing"),
        (Reply::row(["0"]), "the server answered nothing"),
        (no_row.into(), "the server answered nothing"),
        (Reply::Parts(Vec::new()), "the server answered nothing"),
        (error(1205, 13, "chosen as the deadlock victim"), "victim"),
        (
            error(1222, 16, "Lock request time out period exceeded."),
            "time out",
        ),
        (
            error(1204, 16, "cannot obtain a LOCK resource"),
            "LOCK resource",
        ),
        (error(1204, 19, "the worst of a statement"), "the worst"),
        (
            Reply::Parts(vec![
                Part::Rows(ResultSet::row(vec![Value::Int(0)])),
                Part::Error(ServerError::new(1204, 16, "after the row")),
            ]),
            "after the row",
        ),
    ]
}

#[tokio::test]
async fn what_is_granted_at_once_or_after_waiting_is_held() -> Outcome {
    for status in [0, 1] {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        scene.distort(Of::Try, move |_| row(status));
        let guard = pool.dlock("k").try_acquire().await?.expect("it is free");
        assert!(guard.is_held() && scene.holder("k").is_some());
        guard.release().await?;
        assert_eq!(pool.status().counters.sessions_lost, 0);
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_try_of_what_is_busy_gets_nothing_and_its_session_is_used_on() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let beside = pool.dlock("beside").await?;
    scene.say(Of::Try, row(-1));
    assert!(pool.dlock("k").try_acquire().await?.is_none());
    is_as_good_as_before(&scene, &pool).await?;
    Ok(beside.release().await?)
}

#[tokio::test]
async fn a_circle_is_a_deadlock_and_its_session_is_used_on() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let beside = pool.dlock("beside").await?;
    scene.say(Of::Try, row(-3));
    let refused = pool.dlock("k").try_acquire().await;
    let Err(Error::Deadlock { key }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(key, "k".into());
    is_as_good_as_before(&scene, &pool).await?;
    Ok(beside.release().await?)
}

/// Its lock is held still, and the next one is had on it.
async fn is_as_good_as_before(scene: &Scene, pool: &LockPool) -> Outcome {
    let [session] = *scene.sessions("ours") else {
        panic!("{:?}", scene.sessions("ours"));
    };
    let guard = pool.dlock("k").await?;
    for name in ["beside", "k"] {
        let holder = scene.holder(name).expect("it is held");
        assert_eq!(holder.session, session);
    }
    guard.release().await?;
    let counters = pool.status().counters;
    assert_eq!((counters.sessions_opened, counters.sessions_lost), (1, 0));
    Ok(())
}

#[tokio::test]
async fn after_a_doubtful_answer_the_asker_hears_it_and_the_session_is_dropped() -> Outcome {
    for (reply, words) in doubtful() {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        let beside = pool.dlock("beside").await?;
        let first = scene.holder("beside").expect("it is held").session;
        let so_far = scene.asked(Of::Try);
        // Whatever it says, it has granted the lock.
        scene.distort(Of::Try, move |_| reply.clone());
        let said = why(Phase::Acquire, pool.dlock("k").try_acquire().await);
        assert!(said.contains(words), "{said}");
        soon("the loss of the lock beside", beside.lost()).await?;
        scene.until_ended(first).await?;
        let guard = soon("a new session", pool.dlock("k")).await??;
        assert_ne!(scene.holder("k").expect("it is held").session, first);
        assert!(scene.holder("beside").is_none());
        let released = beside.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        guard.release().await?;
        assert_eq!(scene.asked(Of::Try), so_far + 2, "{words}");
        let counters = pool.status().counters;
        assert_eq!((counters.sessions_opened, counters.sessions_lost), (2, 1));
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_waits_hears_a_doubtful_answer_to_the_first_try() -> Outcome {
    for (reply, words) in doubtful() {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        scene.say(Of::Try, reply);
        let waited = soon("the error", pool.dlock("k")).await?;
        let said = why(Phase::Acquire, waited);
        assert!(said.contains(words), "{said}");
        assert_eq!((scene.asked(Of::Try), scene.asked(Of::Wait)), (1, 0));
    }
    Ok(())
}

/// It came while the answer was on its way.
#[tokio::test]
async fn who_asks_next_is_not_served_by_a_session_in_doubt() -> Outcome {
    for (reply, words) in doubtful() {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        let beside = pool.dlock("beside").await?;
        let first = scene.holder("beside").expect("it is held").session;
        let so_far = scene.asked(Of::Try);
        scene.distort(Of::Try, move |_| reply.clone());
        let next = async {
            scene.until_asked(Of::Try, so_far + 1).await?;
            Ok::<_, Failure>(pool.dlock("next").await?)
        };
        let (failed, next) = tokio::join!(pool.dlock("k").try_acquire(), next);
        let (said, next) = (why(Phase::Acquire, failed), next?);
        assert!(said.contains(words), "{said}");
        soon("the loss of the lock beside", beside.lost()).await?;
        scene.until_ended(first).await?;
        assert!(next.is_held(), "{words}");
        next.release().await?;
        scene.is_left_clean().await?;
    }
    Ok(())
}

/// The second of two that were asked for together.
#[tokio::test]
async fn a_row_without_a_status_for_everybody_is_doubtful_to_who_has_none() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let beside = pool.dlock("beside").await?;
    let so_far = scene.asked(Of::Try);
    scene.distort(Of::Try, |_| row(0));
    let (one, two) = tokio::join!(
        pool.dlock("one").try_acquire(),
        pool.dlock("two").try_acquire()
    );
    assert_eq!(scene.asked(Of::Try), so_far + 1);
    let one = one?.expect("the server has granted it");
    let said = why(Phase::Acquire, two);
    assert!(
        said.contains("sp_getapplock of two: the server answered nothing"),
        "{said}"
    );
    for lost in [&one, &beside] {
        soon("the loss", lost.lost()).await?;
    }
    scene.is_left_clean().await
}

#[tokio::test]
async fn an_error_that_ends_the_session_is_not_the_askers() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let beside = pool.dlock("beside").await?;
    let first = scene.holder("beside").expect("it is held").session;
    scene.say(Of::Try, ServerError::new(823, 24, "I/O error"));
    let guard = soon("a new session", pool.dlock("k").try_acquire()).await??;
    let guard = guard.expect("it is free");
    soon("the loss of the lock beside", beside.lost()).await?;
    scene.until_ended(first).await?;
    guard.release().await?;
    scene.is_left_clean().await
}

#[tokio::test]
async fn an_error_that_ends_every_session_is_told_after_a_few() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    scene.say_times(usize::MAX, Of::Try, ServerError::new(823, 24, "I/O error"));
    let said = why(Phase::Connect, soon("the error", pool.dlock("k")).await?);
    assert!(said.contains("I/O error"), "{said}");
    assert_eq!(scene.asked(Of::Try), 3);
    let in_time = soon("the error", pool.dlock("k").timeout(Duration::from_secs(5))).await?;
    assert!(why(Phase::Connect, in_time).contains("I/O error"));
    assert_eq!(scene.asked(Of::Try), 6);
    Ok(())
}
