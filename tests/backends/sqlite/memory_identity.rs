//! Which databases in memory are one, and which are two.

use std::time::Duration;

use dlock::{DLockExt, LockPool};
use dlock_tests::{Way, connect};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::memory::{ANONYMOUS, name, named, private_pool};
use crate::suite::{Outcome, Peer};

const KEY: i64 = 42;

#[tokio::test]
async fn two_databases_without_a_name_do_not_meet() -> Outcome {
    let (ours, theirs) = (connect(ANONYMOUS, 1).await, connect(ANONYMOUS, 1).await);
    let guard = ours.dlock(KEY).await?;
    let other = theirs.dlock(KEY).try_acquire().await?;
    assert!(other.is_some());
    assert!(ours.dlock(KEY).try_acquire().await?.is_none());
    assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
    Ok(guard.release().await?)
}

#[tokio::test]
async fn two_lock_pools_of_one_database_exclude_each_other() -> Outcome {
    let db = connect(ANONYMOUS, 1).await;
    let other = LockPool::builder(&db).build();
    let guard = db.dlock(KEY).await?;
    assert!(other.dlock(KEY).try_acquire().await?.is_none());
    guard.release().await?;
    let guard = other.dlock(KEY).try_acquire().await?;
    assert!(guard.is_some());
    assert!(db.dlock(KEY).try_acquire().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn private_databases_of_sqlx_do_not_meet_and_lock_pools_on_one_do() -> Outcome {
    for options in [
        SqliteConnectOptions::new(),
        SqliteConnectOptions::new().filename(":memory:"),
        SqliteConnectOptions::new().filename(""),
    ] {
        let (ours, theirs) = (private_pool(options.clone()), private_pool(options));
        let guard = ours.dlock(KEY).await?;
        assert!(theirs.dlock(KEY).try_acquire().await?.is_some());
        let another = LockPool::builder(&ours).build();
        assert!(another.dlock(KEY).try_acquire().await?.is_none());
        guard.release().await?;
        assert!(another.dlock(KEY).try_acquire().await?.is_some());
    }
    Ok(())
}

#[tokio::test]
async fn a_private_database_does_not_inherit_the_locks_of_one_that_is_gone() -> Outcome {
    let mut kept = Vec::new();
    for round in 0..100 {
        let pool = private_pool(SqliteConnectOptions::new());
        let guard = pool.dlock(KEY).try_acquire().await?;
        kept.push(guard.expect("nobody else can see this database"));
        match round % 2 {
            0 => pool.close().await,
            _ => drop(pool),
        }
        // Its memory is free for the next one.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// It is SQLite that reads these names: what one writes, the other sees.
#[tokio::test]
async fn every_spelling_of_a_named_database_has_the_same_locks() -> Outcome {
    let name = name();
    let first = connect(&named(&name), 1).await;
    first.execute_unprepared("CREATE TABLE seen (n)").await?;
    let guard = first.dlock(KEY).await?;
    let uri = format!("file:{name}?mode=memory&cache=shared");
    for second in [
        named(&name).parse()?,
        format!("sqlite:{uri}").parse()?,
        SqliteConnectOptions::new().filename(uri),
        named(&name.replace("memory", "%256demory")).parse()?,
    ] {
        let file = second.get_filename().to_owned();
        let second: DatabaseConnection = private_pool(second).into();
        second.execute_unprepared("SELECT n FROM seen").await?;
        let got = second.dlock(KEY).try_acquire().await?;
        assert!(got.is_none(), "{}", file.display());
    }
    Ok(guard.release().await?)
}

/// To SQLite each connection has a database of its own then. Better one lock too many.
#[tokio::test]
async fn a_name_that_is_no_uri_is_a_name_all_the_same() -> Outcome {
    let url = named(&name()).replace("file:", "");
    let (ours, theirs) = (connect(&url, 1).await, connect(&url, 1).await);
    let guard = ours.dlock(KEY).await?;
    assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
    Ok(guard.release().await?)
}

#[tokio::test]
async fn another_process_has_another_memory() -> Outcome {
    let url = named(&name());
    let db = connect(&url, 1).await;
    let mut peer = Peer::start(&url).await?;
    peer.hold(KEY, Way::PLAIN).await?;
    let guard = db.dlock(KEY).try_acquire().await?;
    assert!(guard.is_some());
    peer.release(KEY).await
}
