//! Connections that are cut while a request is on its way.

use dlock::{DLockExt, Error};
use dlock_tds::{Close, Part, Reply};

use super::{Of, Scene};
use crate::suite::{Outcome, PATIENCE, soon};

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The request has arrived, and nothing has been done for it.
    Arrival,
    /// It has been carried out, and nothing said of it.
    Deed,
    /// In the middle of the reply.
    HalfTheReply,
    /// Right after it.
    Reply,
}

const PLACES: [At; 4] = [At::Arrival, At::Deed, At::HalfTheReply, At::Reply];

const ENDS: [Close; 2] = [Close::Fin, Close::Rst];

fn everywhere() -> impl Iterator<Item = (At, Close)> {
    let places = PLACES.into_iter();
    places.flat_map(|at| ENDS.into_iter().map(move |close| (at, close)))
}

/// The next request of this kind meets it.
fn cut(scene: &Scene, of: Of, at: At, close: Close) {
    fn parts(reply: &Reply) -> Vec<Part> {
        reply.parts().expect("a plain reply").to_vec()
    }
    match at {
        At::Arrival => scene.say(of, Reply::Cut(close)),
        At::Deed => scene.distort(of, move |_| Reply::Cut(close)),
        At::HalfTheReply => {
            scene.distort(of, move |reply| Reply::HalfThenCut(parts(&reply), close));
        }
        At::Reply => scene.distort(of, move |reply| Reply::ThenCut(parts(&reply), close)),
    }
}

#[tokio::test]
async fn who_asks_when_the_connection_is_cut_gets_the_lock_on_another() -> Outcome {
    for (at, close) in everywhere() {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        let beside = pool.dlock("beside").await?;
        let first = scene.holder("beside").expect("it is held").session;
        cut(&scene, Of::Try, at, close);
        let mut guard = soon("the lock", pool.dlock("k")).await??;
        soon("the loss of the lock beside", beside.lost()).await?;
        scene.until_ended(first).await?;
        if at == At::Reply && !guard.is_held() {
            // It was got, and lost.
            guard = soon("the lock", pool.dlock("k")).await??;
        }
        let holder = scene.holder("k").expect("it is held").session;
        assert_eq!(scene.sessions("ours"), [holder], "{at:?} {close:?}");
        assert!(guard.is_held());
        let another = scene.pool("theirs").dlock("k").try_acquire().await?;
        assert!(another.is_none());
        guard.release().await?;
        let released = beside.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        assert_eq!(pool.status().counters.sessions_lost, 1);
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_waits_when_the_connection_is_cut_gets_the_lock_in_the_end() -> Outcome {
    for (at, close) in everywhere() {
        let scene = Scene::open().await?;
        let theirs = scene.pool("theirs").dlock("k").await?;
        let pool = scene.pool("ours");
        cut(&scene, Of::Wait, at, close);
        let waiter = pool.clone();
        let waiter = tokio::spawn(async move { waiter.dlock("k").timeout(PATIENCE).await });
        scene.until_asked(Of::Wait, 1).await?;
        if at == At::Arrival {
            // There is another wait, on another session.
            scene.until_waiting("k", 1).await?;
        }
        assert!(!waiter.is_finished());
        theirs.release().await?;
        let mut guard = soon("the lock", waiter).await???;
        if at == At::Reply {
            // It was got, and lost.
            soon("the loss", guard.lost()).await?;
            guard = soon("the lock", pool.dlock("k")).await??;
        }
        let holder = scene.holder("k").expect("it is held").session;
        assert!(guard.is_held() && scene.sessions("ours").contains(&holder));
        guard.release().await?;
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_is_cut_off_while_it_waits_waits_on_another_session() -> Outcome {
    for close in ENDS {
        let scene = Scene::open().await?;
        let theirs = scene.pool("theirs").dlock("k").await?;
        let pool = scene.pool("ours");
        let waiter = tokio::spawn(async move { pool.dlock("k").await });
        for _ in 0..3 {
            scene.until_waiting("k", 1).await?;
            let waiting = scene.locks().waiters("k")[0].session;
            assert!(scene.server.sessions().cut(waiting, close));
            scene.until_ended(waiting).await?;
        }
        scene.until_waiting("k", 1).await?;
        theirs.release().await?;
        soon("the lock", waiter).await???.release().await?;
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_release_whose_answer_is_not_heard_is_a_loss() -> Outcome {
    for (at, close) in everywhere() {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        let guard = pool.dlock("k").await?;
        cut(&scene, Of::Release, at, close);
        let released = soon("the answer", guard.release()).await?;
        match at {
            At::Reply if close == Close::Fin => released?,
            // The reset may overtake the reply.
            At::Reply => {}
            _ => assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}"),
        }
        scene.is_left_clean().await?;
        assert_eq!(scene.asked(Of::Release), 1);
        soon("the lock", pool.dlock("k")).await??.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_whose_first_answer_is_cut_off_is_no_session() -> Outcome {
    for (at, close) in everywhere().filter(|(at, _)| *at != At::Reply) {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        cut(&scene, Of::Life, at, close);
        let refused = soon("the error", pool.dlock("k")).await?;
        super::why(dlock::Phase::Connect, refused);
        pool.dlock("k").await?.release().await?;
        let counters = pool.status().counters;
        assert_eq!(
            (counters.sessions_opened, counters.sessions_refused),
            (1, 1)
        );
    }
    Ok(())
}
