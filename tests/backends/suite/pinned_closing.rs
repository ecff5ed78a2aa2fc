//! How a pool ends that has pinned locks.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, PinnedGuard};
use dlock_tests::Db;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::task::JoinHandle;

use super::{OrmBackend, Outcome, Scene, elapsed, eventually, in_one_of, soon, waiting};

type Asked = JoinHandle<Result<PinnedGuard, Error>>;

fn ask(pool: &LockPool, key: i64) -> Asked {
    let pool = pool.clone();
    tokio::spawn(async move { pool.dlock(key).pinned().await })
}

async fn is_refused(asked: Asked) -> Outcome {
    let refused = soon("the refusal", asked).await??;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    Ok(())
}

/// They wait for the server, or for their turn.
pub(crate) async fn a_closing_pool_refuses_pinned_locks_at_once_and_waits_for_those_held<
    B: OrmBackend,
>(
    scene: &Scene<B>,
) -> Outcome {
    let theirs = scene.db("theirs").await;
    let foreign = scene.key();
    let held = theirs.dlock(foreign).await?;
    in_one_of(3, Duration::from_millis(300), async || {
        let ours = scene.db("ours").await;
        let pool = LockPool::builder(&ours).max_pinned_sessions(2).install();
        let key = scene.key();
        let guard = pool.dlock(key).pinned().await?;
        let at_server = ask(&pool, foreign);
        eventually("it is asked for", async || {
            Ok(pool.status().pinned_sessions == 2)
        })
        .await?;
        let at_turn = ask(&pool, scene.key());
        eventually("both wait", async || Ok(pool.status().waiters >= 2)).await?;
        let closing = {
            let pool = pool.clone();
            tokio::spawn(async move { pool.close().await })
        };
        let refused = async {
            is_refused(at_server).await?;
            is_refused(at_turn).await
        };
        let (refused, took) = elapsed(refused).await;
        refused?;
        is_refused(ask(&pool, scene.key())).await?;
        let tried = pool.dlock(scene.key()).pinned().try_acquire().await;
        assert!(matches!(tried, Err(Error::PoolClosed)), "{tried:?}");
        // Longer than until the next look at the session.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(guard.is_held() && !closing.is_finished());
        guard.execute_unprepared("SELECT 1").await?;
        assert!(theirs.dlock(key).try_acquire().await?.is_none());
        guard.release().await?;
        soon("the end of the pool", closing).await??;
        let status = pool.status();
        assert_eq!((status.pinned_sessions, status.waiters), (0, 0), "{status}");
        scene.until_sessions("ours", 0).await?;
        Ok(took)
    })
    .await?;
    Ok(held.release().await?)
}

pub(crate) async fn a_closing_pool_refuses_those_that_connect_for_a_pinned_lock<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (_listener, url) = scene.silent_server()?;
    in_one_of(3, Duration::from_millis(300), async || {
        let silent = B::Db::open_lazily(&url).await;
        let pool = LockPool::of(&silent);
        let connecting = ask(&pool, scene.key());
        waiting(&silent, 1).await?;
        let closed = async {
            soon("the end of the pool", pool.close()).await?;
            is_refused(connecting).await
        };
        let (closed, took) = elapsed(closed).await;
        closed?;
        Ok(took)
    })
    .await
}

/// `lost` first, then the sessions end. One guard is idle, one is in a body.
pub(crate) async fn a_close_with_a_limit_takes_pinned_locks_away<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (db, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let pool = LockPool::of(&db);
    let keys = scene.keys(2);
    let guard = db.dlock(keys[0]).pinned().await?;
    let body = {
        let (pool, key) = (pool.clone(), keys[1]);
        tokio::spawn(async move {
            let body = pool.dlock(key).pinned().run(async |guard| {
                guard.execute_unprepared("SELECT 1").await?;
                std::future::pending::<Result<(), sea_orm::DbErr>>().await
            });
            body.await
        })
    };
    eventually("both are held", async || Ok(pool.status().held == 2)).await?;
    let limit = Duration::from_millis(300);
    let lost = async {
        guard.lost().await;
        // The guard is still there: nobody has the lock yet.
        Ok::<_, Error>(theirs.dlock(keys[0]).try_acquire().await?.is_none())
    };
    let closing = elapsed(soon("the end of the pool", pool.close_timeout(limit)));
    let ((closed, took), first) = tokio::join!(closing, lost);
    closed?;
    assert!(first?, "somebody has the lock before the guard has gone");
    assert!(took >= limit, "{took:?}");
    assert!(!guard.is_held());
    assert_eq!(pool.status().counters.lost, 2);
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    let body = soon("the end of the body", body).await??;
    let error = body.expect_err("it never ends by itself").to_string();
    assert!(error.contains("lost"), "{error}");
    scene.until_sessions("ours", 0).await?;
    assert!(theirs.dlock(keys[0]).try_acquire().await?.is_some());
    Ok(())
}

pub(crate) async fn closing_the_connection_leaves_pinned_guards_theirs<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    for is_dropped in [false, true] {
        let db = scene.db("ours").await;
        let key = scene.key();
        let guard = db.dlock(key).pinned().await?;
        close(db, is_dropped).await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(guard.is_held());
        guard.execute_unprepared("SELECT 1").await?;
        assert_eq!(scene.held(&[key]).await?, 1);
        scene.until_sessions("ours", 1).await?;
        guard.release().await?;
        scene.until_sessions("ours", 0).await?;
    }
    Ok(())
}

async fn close(db: DatabaseConnection, is_dropped: bool) -> Outcome {
    if is_dropped {
        drop(db);
        return Ok(());
    }
    db.clone().close().await?;
    let refused = soon("the refusal", db.dlock("another").pinned().into_future()).await?;
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    Ok(())
}
