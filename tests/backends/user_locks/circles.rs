//! Sessions of two services that hold each other's locks. dlock never waits where it holds, so it closes no circle; the others of a statement are none the worse.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use tokio::task::JoinHandle;

use super::options::name;
use super::raw::{Raw, get_lock};
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, soon};

/// Another session that holds one lock and waits for another: who holds that and wants the first closes a circle.
struct Circle {
    id: i64,
    waiter: JoinHandle<Outcome<(Raw, String)>>,
}

impl Circle {
    async fn close<S: Server>(scene: &Scene<S>, holds: &str, wants: &str) -> Outcome<Self> {
        let (mut raw, mut watcher) = (scene.raw().await?, scene.raw().await?);
        raw.lock(holds).await?;
        let id = raw.id().await?;
        let wait = get_lock(wants, "60");
        let waiter = tokio::spawn(async move {
            let answer = raw.row(&wait).await?;
            Ok((raw, answer))
        });
        watcher.until_wanted(wants, 1).await?;
        Ok(Self { id, waiter })
    }

    fn still_waits(&self) -> bool {
        !self.waiter.is_finished()
    }

    /// When it has got what it waited for.
    async fn ends(self) -> Outcome {
        let (_raw, answer) = soon("the lock", self.waiter).await???;
        assert_eq!(answer, "1");
        Ok(())
    }
}

pub(crate) async fn a_try_that_would_close_a_circle_is_busy<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = scene.raw().await?;
    let (ours, theirs) = (name(), name());
    let guard = pool.dlock(&ours).await?;
    let session = raw.holder(&ours).await?;
    let circle = Circle::close(scene, &theirs, &ours).await?;
    for _ in 0..5 {
        assert!(pool.dlock(&theirs).try_acquire().await?.is_none());
    }
    // Waiting for it is waiting, too, and the others in the statement get what they asked for.
    let short = Duration::from_millis(300);
    let (free, also_free) = (name(), name());
    let (late, first, second) = tokio::join!(
        pool.dlock(&theirs).timeout(short),
        pool.dlock(&free).try_acquire(),
        pool.dlock(&also_free).timeout(PATIENCE),
    );
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let (first, second) = (first?.expect("it is free"), second?);
    for (guard, text) in [(&guard, &ours), (&first, &free), (&second, &also_free)] {
        assert!(guard.is_held());
        assert_eq!(raw.holder(text).await?, session);
    }
    assert_eq!(raw.holder(&theirs).await?, Some(circle.id));
    assert!(circle.still_waits());
    assert_eq!(pool.status().counters.sessions_lost, 0);
    for guard in [first, second, guard] {
        guard.release().await?;
    }
    assert!(raw.can_lock(&free).await? && raw.can_lock(&also_free).await?);
    circle.ends().await
}

/// What is given back in the same statement is given back, and can be had again.
pub(crate) async fn releases_beside_a_try_that_would_close_a_circle_are_done<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    let mut raw = scene.raw().await?;
    let (ours, theirs) = (name(), name());
    let guard = pool.dlock(&ours).await?;
    let circle = Circle::close(scene, &theirs, &ours).await?;
    for _ in 0..20 {
        let (given_back, taken_again) = (name(), name());
        let first = pool.dlock(&given_back).await?;
        let second = pool.dlock(&taken_again).await?;
        let (busy, released, also, again) = tokio::join!(
            pool.dlock(&theirs).try_acquire(),
            first.release(),
            second.release(),
            pool.dlock(&taken_again).timeout(PATIENCE),
        );
        assert!(busy?.is_none());
        released?;
        also?;
        let again = again?;
        assert!(raw.can_lock(&given_back).await?);
        assert!(!raw.can_lock(&taken_again).await?);
        again.release().await?;
        assert!(raw.can_lock(&taken_again).await?);
    }
    assert!(guard.is_held() && circle.still_waits());
    assert_eq!(pool.status().counters.sessions_lost, 0);
    guard.release().await?;
    circle.ends().await
}
