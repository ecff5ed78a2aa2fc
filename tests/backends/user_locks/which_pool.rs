//! Which lock pool belongs to which connection, and that sqlx's pool is as good as SeaORM's.

use dlock::{DLockExt, Error, LockPool};
use sea_orm::sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use super::options::options;
use super::{Scene, Server};
use crate::suite::Outcome;

fn sqlx_pool<S: Server>(scene: &Scene<S>) -> Outcome<MySqlPool> {
    let options = options(&scene.url("sqlx"))?;
    Ok(MySqlPoolOptions::new().connect_lazy_with(options))
}

pub(crate) async fn the_pool_of_sqlx_and_the_connection_made_of_it_have_one_lock_pool<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let sqlx = sqlx_pool(scene)?;
    let db: DatabaseConnection = sqlx.clone().into();
    let keys = scene.keys(4);
    let guards = [
        sqlx.dlock(keys[0]).await?,
        db.dlock(keys[1]).await?,
        db.clone().dlock(keys[2]).await?,
        db.get_mysql_connection_pool().dlock(keys[3]).await?,
    ];
    for status in [
        LockPool::of(&sqlx).status(),
        LockPool::of(&db).status(),
        LockPool::of(&db.clone()).status(),
    ] {
        assert_eq!((status.held, status.sessions), (4, 1), "{status}");
    }
    // Of the same database, but an application of its own.
    let another = scene.db("another").await;
    assert_eq!(LockPool::of(&another).status().held, 0);
    assert!(another.dlock(keys[0]).try_acquire().await?.is_none());
    for guard in guards {
        guard.release().await?;
    }
    Ok(())
}

pub(crate) async fn the_pool_of_sqlx_runs_and_holds_a_lock_around_a_transaction<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (sqlx, theirs) = (sqlx_pool(scene)?, scene.db("theirs").await);
    let (key, counter) = (scene.key(), scene.counter(&theirs).await?);
    let ran = sqlx.dlock(key).run(async |lock| {
        assert!(lock.is_held());
        assert!(theirs.dlock(key).try_acquire().await?.is_none());
        Ok::<_, Error>(7)
    });
    assert_eq!(ran.await?, 7);
    let done = sqlx.dlock(key).transaction(async |txn| {
        counter.write(txn, 1).await?;
        assert!(theirs.dlock(key).try_acquire().await?.is_none());
        assert_eq!(counter.read(&theirs).await?, 0);
        Ok::<_, DbErr>("done")
    });
    assert_eq!(done.await?, "done");
    assert_eq!(counter.read(&theirs).await?, 1);
    let failed = sqlx.dlock(key).transaction(async |txn| {
        counter.write(txn, 2).await?;
        txn.execute_unprepared("no SQL at all").await
    });
    assert!(failed.await.is_err());
    assert_eq!(counter.read(&theirs).await?, 1);
    assert!(theirs.dlock(key).try_acquire().await?.is_some());
    Ok(counter.remove(&theirs).await?)
}
