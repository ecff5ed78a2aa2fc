//! Which lock pool belongs to which connection, and that sqlx's pool is as good as SeaORM's.

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::Counter;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use super::database::{Scratch, held};
use crate::suite::Outcome;

const KEY: i64 = 42;
const NAME: &str = "42";

fn sqlx_pool(scratch: &Scratch) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(scratch.file());
    SqlitePoolOptions::new().connect_lazy_with(options)
}

#[tokio::test]
async fn the_pool_of_sqlx_and_the_connection_made_of_it_have_one_lock_pool() -> Outcome {
    let scratch = Scratch::create().await;
    let sqlx = sqlx_pool(&scratch);
    let db: DatabaseConnection = sqlx.clone().into();
    let guards = [
        sqlx.dlock("one").await?,
        db.dlock("two").await?,
        db.clone().dlock("three").await?,
        db.get_sqlite_connection_pool().dlock("four").await?,
    ];
    for status in [
        LockPool::of(&sqlx).status(),
        LockPool::of(&db).status(),
        LockPool::of(&db.clone()).status(),
    ] {
        assert_eq!((status.held, status.sessions), (4, 1), "{status}");
    }
    // Of the same database, but an application of its own.
    let another = scratch.db().await;
    assert_eq!(LockPool::of(&another).status().held, 0);
    assert!(another.dlock("one").try_acquire().await?.is_none());
    for guard in guards {
        guard.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_pool_of_sqlx_acquires_tries_and_runs() -> Outcome {
    let scratch = Scratch::create().await;
    let (sqlx, theirs) = (sqlx_pool(&scratch), scratch.db().await);
    let file = scratch.lock_file(NAME);
    let guard = sqlx.dlock(KEY).await?;
    assert_eq!(held(&file), 1);
    assert!(sqlx.dlock(KEY).try_acquire().await?.is_none());
    guard.release().await?;
    let readers = [
        sqlx.dlock(KEY).shared().await?,
        theirs.dlock(KEY).shared().await?,
    ];
    drop(readers);
    let ran = sqlx.dlock(KEY).run(async |lock| {
        assert!(lock.is_held());
        assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
        Ok::<_, Error>(7)
    });
    assert_eq!(ran.await?, 7);
    assert!(scratch.files().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_pool_of_sqlx_holds_a_lock_around_a_transaction() -> Outcome {
    let scratch = Scratch::create().await;
    let (sqlx, theirs) = (sqlx_pool(&scratch), scratch.db().await);
    let counter = Counter::named("around");
    counter.create(&theirs).await?;
    let done = sqlx.dlock(KEY).transaction(async |txn| {
        counter.write(txn, 1).await?;
        assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
        assert_eq!(counter.read(&theirs).await?, 0);
        Ok::<_, DbErr>("done")
    });
    assert_eq!(done.await?, "done");
    assert_eq!(counter.read(&theirs).await?, 1);
    let failed = sqlx.dlock(KEY).transaction(async |txn| {
        counter.write(txn, 2).await?;
        txn.execute_unprepared("no SQL at all").await
    });
    assert!(failed.await.is_err());
    assert_eq!(counter.read(&theirs).await?, 1);
    assert!(theirs.dlock(KEY).try_acquire().await?.is_some());
    Ok(())
}
