//! Promise 3, and "whose runtime": what happens when the runtime of the first use ends.

use std::thread;
use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LossCause};
use dlock_tests::Db;
use tokio::runtime::{Handle, Runtime};

use super::{Backend, Failure, Outcome, Scene, soon, waiting};

pub(crate) async fn a_guard_outlives_its_runtime_but_its_lock_does_not<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (url, key) = (scene.url("ours"), scene.key());
    let (db, guard) = Elsewhere::start()?.end_after(async move {
        let db = B::Db::open(&url, 2).await;
        let guard = db.dlock(key).await?;
        Ok((db, guard))
    })?;
    soon("the loss", guard.lost()).await?;
    assert!(!guard.is_held());
    scene.until_free(key).await?;
    let theirs = scene.db("theirs").await;
    assert!(theirs.dlock(key).try_acquire().await?.is_some());
    scene.until_free(key).await?;

    // The same connection starts anew here; the old guard has no power over the new one.
    let again = soon("the lock", db.dlock(key).into_future()).await??;
    drop(guard);
    again.release().await?;
    let again = soon("the lock", db.dlock(key).into_future()).await??;
    assert!(theirs.dlock(key).try_acquire().await?.is_none());
    assert!(again.is_held());

    // A guard that lost its runtime says so on release, too, on a thread without any.
    let (url, key) = (scene.url("ours"), scene.key());
    let lost: DLockGuard = Elsewhere::start()?.end_after(async move {
        let db = B::Db::open(&url, 2).await;
        db.dlock(key).await
    })?;
    let released = lost.release().await;
    let Err(error @ Error::Lost { cause, .. }) = &released else {
        panic!("{released:?}");
    };
    assert_eq!(*cause, LossCause::Runtime);
    let text = error.to_string();
    assert!(
        text.contains("runtime") && text.contains("`LockPoolBuilder::runtime(handle)`"),
        "{text}"
    );
    Ok(())
}

pub(crate) async fn a_waiter_survives_the_end_of_the_pools_runtime<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (key, other) = (scene.key(), scene.key());
    let holder = scene.db("holder").await.dlock(key).await?;
    let elsewhere = Elsewhere::start()?;
    let url = scene.url("ours");
    let db = elsewhere.run(async move {
        let db = B::Db::open(&url, 2).await;
        db.dlock(other).await?.release().await?;
        Ok(db)
    })?;
    let waiter = tokio::spawn(wait(db.clone(), key));
    waiting(&db, 1).await?;
    elsewhere.end()?;
    waiting(&db, 1).await?;
    assert!(!waiter.is_finished());
    holder.release().await?;
    let guard = soon("the lock", waiter).await???;
    assert!(guard.is_held());
    assert_eq!(scene.held(&[key]).await?, 1);
    Ok(guard.release().await?)
}

async fn wait(db: impl Db, key: i64) -> Result<DLockGuard, Error> {
    db.dlock(key).timeout(Duration::from_secs(30)).await
}

pub(crate) async fn a_pool_with_a_runtime_of_its_own_survives_that_of_its_user<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let key = scene.key();
    let db = scene.db("ours").await;
    let pool = scene.builder("ours", &db);
    let pool = pool.runtime(Handle::current()).build();
    let user = pool.clone();
    let guard = Elsewhere::start()?.end_after(async move { user.dlock(key).await })?;
    assert!(guard.is_held());
    assert_eq!(scene.held(&[key]).await?, 1);
    Ok(guard.release().await?)
}

/// A runtime on a thread of its own, since one cannot be used or ended inside of another.
pub(super) struct Elsewhere(Runtime);

impl Elsewhere {
    pub(super) fn start() -> Outcome<Self> {
        Ok(Self(Runtime::new()?))
    }

    pub(super) fn run<T: Send + 'static>(
        &self,
        doing: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Outcome<T> {
        let on = self.0.handle().clone();
        let done = thread::spawn(move || on.block_on(doing)).join();
        Ok(done.map_err(|_| Failure::new("the thread panicked"))??)
    }

    pub(super) fn end(self) -> Outcome {
        let ended = thread::spawn(move || drop(self.0)).join();
        ended.map_err(|_| Failure::new("the end of the runtime panicked"))
    }

    pub(super) fn end_after<T: Send + 'static>(
        self,
        doing: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Outcome<T> {
        let done = self.run(doing)?;
        self.end()?;
        Ok(done)
    }
}
