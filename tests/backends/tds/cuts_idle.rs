//! Connections that are cut while nothing is asked on them.

use std::time::Duration;

use dlock::{DLockExt, Error};
use dlock_tds::{Close, Cut, ServerError};
use tokio::time::Instant;

use super::{Of, Scene};
use crate::suite::{Outcome, in_one_of, soon};

const A_SECOND: Duration = Duration::from_secs(1);

fn cuts() -> impl Iterator<Item = Cut> {
    let errors = [None, Some(ServerError::killed())].into_iter();
    errors.flat_map(|error| {
        [Close::Fin, Close::Rst].map(|close| Cut {
            error: error.clone(),
            close,
        })
    })
}

#[tokio::test]
async fn guards_of_a_session_that_ends_report_their_loss_within_a_second() -> Outcome {
    for cut in cuts() {
        in_one_of(3, A_SECOND, async || {
            let scene = Scene::open().await?;
            let pool = scene.pool("ours");
            let mut guards = Vec::new();
            for key in 0..5 {
                guards.push(pool.dlock(key).await?);
            }
            let [session] = *scene.sessions("ours") else {
                panic!("{:?}", scene.sessions("ours"));
            };
            assert!(scene.server.sessions().cut(session, cut.clone()));
            let start = Instant::now();
            for guard in &guards {
                soon("the loss", guard.lost()).await?;
                assert!(!guard.is_held());
            }
            let took = start.elapsed();
            for guard in guards {
                let released = guard.release().await;
                assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
            }
            assert_eq!(scene.asked(Of::Release), 0);
            pool.dlock(0).await?.release().await?;
            scene.is_left_clean().await?;
            Ok(took)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_waits_in_the_pool_for_a_lock_that_is_cut_off_gets_it_anew() -> Outcome {
    for cut in cuts() {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        let guard = pool.dlock("k").await?;
        let lost = scene.holder("k").expect("it is held").session;
        let waiter = pool.clone();
        let waiter = tokio::spawn(async move { waiter.dlock("k").await });
        crate::suite::waiting(&pool, 1).await?;
        assert!(scene.server.sessions().cut(lost, cut));
        let next = soon("the lock", waiter).await???;
        assert!(!guard.is_held() && next.is_held());
        assert_ne!(scene.holder("k").expect("it is held").session, lost);
        next.release().await?;
        scene.is_left_clean().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_holds_nothing_and_ends_is_replaced() -> Outcome {
    for cut in cuts() {
        let scene = Scene::open().await?;
        let pool = scene.pool("ours");
        pool.dlock("k").await?.release().await?;
        let session = scene.sessions("ours")[0];
        assert!(scene.server.sessions().cut(session, cut));
        scene.until_ended(session).await?;
        let guard = soon("the lock", pool.dlock("k")).await??;
        assert!(guard.is_held());
        guard.release().await?;
        scene.is_left_clean().await?;
    }
    Ok(())
}
