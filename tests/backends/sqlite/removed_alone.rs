//! One lock file is taken away, and its guard hears of it on release: that is one lock, and nobody else's.

use std::fs;

use dlock::{DLockExt, Error, LockPool};
use tokio::runtime::Builder;

use super::database::{Scratch, held};
use crate::suite::{Outcome, soon, waiting};

const KEY: i64 = 42;
const NAME: &str = "42";
const OTHER: i64 = 43;
const OTHER_NAME: &str = "43";

#[tokio::test]
async fn the_others_of_its_session_are_none_the_worse() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let (gone, other) = (db.dlock(KEY).await?, db.dlock(OTHER).await?);
    fs::remove_file(scratch.lock_file(NAME))?;
    let released = gone.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    let status = LockPool::of(&db).status();
    assert_eq!(
        (status.counters.lost, status.counters.sessions_lost),
        (1, 0)
    );
    // Whatever the session would do about it, it has done before it answers.
    LockPool::of(&db).locks().await?;
    assert!(other.is_held());
    let status = LockPool::of(&db).status();
    assert_eq!(
        (status.counters.lost, status.counters.sessions_lost),
        (1, 0)
    );
    assert_eq!(held(&scratch.lock_file(OTHER_NAME)), 1);
    Ok(other.release().await?)
}

#[tokio::test]
async fn who_waits_behind_it_gets_the_lock_for_good() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let gone = db.dlock(KEY).await?;
    let next = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(KEY).await }
    });
    waiting(&db, 1).await?;
    fs::remove_file(scratch.lock_file(NAME))?;
    let released = gone.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    let next = soon("the lock", next).await???;
    LockPool::of(&db).locks().await?;
    assert!(next.is_held());
    assert_eq!(held(&scratch.lock_file(NAME)), 1);
    Ok(next.release().await?)
}

#[test]
fn another_that_is_dropped_afterwards_is_free_at_once() -> Outcome {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (scratch, gone, other) = runtime.block_on(async {
        let scratch = Scratch::create().await;
        let db = scratch.db().await;
        let guards = (db.dlock(KEY).await?, db.dlock(OTHER).await?);
        Ok::<_, Error>((scratch, guards.0, guards.1))
    })?;
    fs::remove_file(scratch.lock_file(NAME))?;
    drop(gone);
    assert_eq!(held(&scratch.lock_file(OTHER_NAME)), 1);
    drop(other);
    assert_eq!(held(&scratch.lock_file(OTHER_NAME)), 0);
    Ok(())
}
