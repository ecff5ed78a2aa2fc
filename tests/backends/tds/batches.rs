//! Many locks in few requests.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{Of, Scene};
use crate::suite::{Outcome, soon};

const MANY: i64 = 300;

/// As many as a statement takes, and those that are left; and one or two for who came too early or too late.
const FEW: usize = 6;

async fn ask_at_once(pool: &LockPool) -> Outcome<Vec<DLockGuard>> {
    let mut asking = JoinSet::new();
    for key in 0..MANY {
        let pool = pool.clone();
        asking.spawn(async move { pool.dlock(key).await });
    }
    let guards = soon("the locks", asking.join_all()).await?;
    Ok(guards.into_iter().collect::<Result<_, Error>>()?)
}

#[tokio::test]
async fn locks_of_many_tasks_need_few_requests() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let guards = ask_at_once(&pool).await?;
    assert_eq!(guards.len() as i64, MANY);
    assert!(guards.iter().all(DLockGuard::is_held));
    assert_eq!(scene.locks().entries().len() as i64, MANY);
    assert!(scene.asked(Of::Try) <= FEW, "{}", scene.asked(Of::Try));
    assert_eq!(scene.asked(Of::Wait), 0);

    let released = join_all(guards.into_iter().map(DLockGuard::release));
    for released in soon("the releases", released).await? {
        released?;
    }
    assert_eq!(scene.locks().entries(), []);
    let releases = scene.asked(Of::Release);
    assert!((1..=FEW).contains(&releases), "{releases}");
    let counters = pool.status().counters;
    assert_eq!((counters.sessions_opened, counters.sessions_lost), (1, 0));
    Ok(())
}

#[tokio::test]
async fn guards_that_are_dropped_together_are_released_together() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    drop(ask_at_once(&pool).await?);
    scene.is_left_clean().await?;
    let releases = scene.asked(Of::Release);
    assert!((1..=FEW).contains(&releases), "{releases}");
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}

#[tokio::test]
async fn everybody_gets_his_own_answer() -> Outcome {
    let scene = Scene::open().await?;
    let (pool, theirs) = (scene.pool("ours"), scene.pool("theirs"));
    let mut held = Vec::new();
    for key in (0..MANY).filter(|key| key % 3 == 0) {
        held.push(theirs.dlock(key).await?);
    }
    let tries_of_theirs = scene.asked(Of::Try);
    let tries = (0..MANY).map(|key| pool.dlock(key).try_acquire());
    let tries = soon("the answers", join_all(tries)).await?;
    assert!(scene.asked(Of::Try) - tries_of_theirs <= FEW);
    let mut guards = Vec::new();
    for (key, tried) in tries.into_iter().enumerate() {
        let guard = tried?;
        assert_eq!(guard.is_some(), key % 3 != 0, "{key}");
        guards.extend(guard);
    }
    for guard in &guards {
        let name = guard.key().to_string();
        let session = scene.holder(&name).expect("it is held").session;
        assert!(scene.sessions("ours").contains(&session), "{name}");
    }
    drop((guards, held));
    scene.is_left_clean().await
}

/// A lock that is given back and one that is asked for, in one request.
#[tokio::test]
async fn releases_come_before_the_tries_of_their_request() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.builder("ours").max_local_handoffs(0).build();
    let (one, two) = (pool.dlock("one").await?, pool.dlock("two").await?);
    let tries = scene.asked(Of::Try);
    let long = Duration::from_secs(20);
    let asked = async {
        tokio::join!(
            pool.dlock("one").timeout(long),
            pool.dlock("two").timeout(long),
            pool.dlock("three").timeout(long),
        )
    };
    let released = async { tokio::join!(one.release(), two.release()) };
    let ((first, second), (one, two, three)) = tokio::join!(released, asked);
    first?;
    second?;
    assert_eq!((scene.asked(Of::Release), scene.asked(Of::Try)), (1, tries));
    for guard in [one?, two?, three?] {
        guard.release().await?;
    }
    scene.is_left_clean().await
}

#[tokio::test]
async fn one_lock_that_fails_does_not_take_the_others_word() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let beside = pool.dlock("beside").await?;
    let statuses = [0, -1, -3, -2];
    scene.say(Of::Try, dlock_tds::Reply::row(statuses));
    let (zero, busy, circle, cancelled) = tokio::join!(
        pool.dlock("zero").try_acquire(),
        pool.dlock("busy").try_acquire(),
        pool.dlock("circle").try_acquire(),
        pool.dlock("cancelled").try_acquire(),
    );
    assert!(zero?.is_some() && busy?.is_none());
    assert!(matches!(circle, Err(Error::Deadlock { .. })), "{circle:?}");
    let said = super::why(dlock::Phase::Acquire, cancelled);
    assert!(said.contains("sp_getapplock of cancelled"), "{said}");
    // That which the server says it has granted is not there to be released.
    soon("the loss", beside.lost()).await?;
    scene.is_left_clean().await
}
