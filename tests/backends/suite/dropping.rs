//! Promise 3: a guard that is dropped frees its lock, wherever that happens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use dlock_tests::Held;

use super::{Backend, Failure, Outcome, Scene};

pub(crate) async fn a_guard_dropped_by_a_task_frees_its_lock<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    frees(scene, async |guard| {
        tokio::spawn(async move { drop(guard) }).await?;
        Ok(())
    })
    .await
}

pub(crate) async fn a_guard_dropped_on_a_plain_thread_frees_its_lock<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    frees(scene, async |guard| join(move || drop(guard))).await
}

pub(crate) async fn a_guard_dropped_by_a_panic_frees_its_lock<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    frees(scene, async |guard| {
        let task = tokio::spawn(async move {
            let _guard = guard;
            panic!("this panic is part of the test");
        });
        assert!(task.await.is_err_and(|error| error.is_panic()));
        Ok(())
    })
    .await
}

pub(crate) async fn a_guard_dropped_by_a_panicking_thread_frees_its_lock<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    frees(scene, async |guard| {
        join(|| {
            let panicked = catch_unwind(AssertUnwindSafe(move || {
                let _guard = guard;
                panic!("this panic is part of the test");
            }));
            assert!(panicked.is_err());
        })
    })
    .await
}

fn join(body: impl FnOnce() + Send + 'static) -> Outcome {
    let joined = thread::spawn(body).join();
    joined.map_err(|_| Failure::new("the thread panicked"))
}

async fn frees<B: Backend>(scene: &Scene<B>, dropped: impl AsyncFn(Held) -> Outcome) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    for &way in B::GUARDS {
        let key = scene.key();
        let guard = way.acquire(&ours, key, super::PATIENCE).await?;
        assert_eq!(scene.held(&[key]).await?, 1);
        dropped(guard).await?;
        // By itself: nothing else is asked of that pool.
        scene.until_free(key).await?;
        assert!(way.try_acquire(&theirs, key).await?.is_some());
        scene.until_free(key).await?;
        assert!(way.try_acquire(&ours, key).await?.is_some());
    }
    Ok(())
}
