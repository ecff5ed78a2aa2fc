//! The file of a held lock is taken away from outside: its guard hears of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::Counter;
use sea_orm::{DatabaseConnection, DbErr};

use super::database::{Scratch, held};
use crate::suite::{Outcome, in_one_of, soon};

const KEY: i64 = 42;
const NAME: &str = "42";
const KEEPALIVE: Duration = Duration::from_millis(600);

/// What somebody deletes.
#[derive(Debug, Clone, Copy)]
enum Deleted {
    File,
    Directory,
}

impl Deleted {
    const ALL: [Self; 2] = [Self::File, Self::Directory];

    fn from(self, scratch: &Scratch) -> Outcome {
        match self {
            Self::File => fs::remove_file(scratch.lock_file(NAME))?,
            Self::Directory => fs::remove_dir_all(scratch.locks())?,
        }
        Ok(())
    }
}

async fn database() -> (Scratch, DatabaseConnection) {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    LockPool::builder(&db).keepalive(KEEPALIVE).install();
    (scratch, db)
}

/// Nothing of what was taken away is in the way.
async fn works_again(scratch: &Scratch, db: &DatabaseConnection) -> Outcome {
    let again = soon("the lock", db.dlock(KEY).into_future()).await??;
    assert_eq!(held(&scratch.lock_file(NAME)), 1);
    assert!(scratch.db().await.dlock(KEY).try_acquire().await?.is_none());
    again.release().await?;
    assert!(scratch.files().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_guard_hears_within_the_keepalive_that_its_file_is_gone() -> Outcome {
    for deleted in Deleted::ALL {
        let (scratch, db) = database().await;
        in_one_of(4, KEEPALIVE, async || {
            let (guard, other) = (db.dlock(KEY).await?, db.dlock("other").await?);
            deleted.from(&scratch)?;
            let start = Instant::now();
            soon("the loss", guard.lost()).await?;
            let took = start.elapsed();
            assert!(!guard.is_held());
            match deleted {
                // The other lock of the session has its file still.
                Deleted::File => {
                    assert!(other.is_held());
                    other.release().await?;
                }
                Deleted::Directory => soon("the loss", other.lost()).await?,
            }
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
            Ok(took)
        })
        .await?;
        assert!(LockPool::of(&db).status().counters.lost >= 1);
        works_again(&scratch, &db).await?;
    }
    Ok(())
}

/// What the other locks of the pool do says nothing about this one.
#[tokio::test]
async fn a_guard_hears_of_it_however_busy_its_pool_is() -> Outcome {
    let (scratch, db) = database().await;
    in_one_of(4, KEEPALIVE, async || {
        let guard = db.dlock(KEY).await?;
        let busy = tokio::spawn({
            let db = db.clone();
            async move {
                loop {
                    drop(db.dlock("another").await);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        fs::remove_file(scratch.lock_file(NAME))?;
        let start = Instant::now();
        let lost = soon("the loss", guard.lost()).await;
        busy.abort();
        lost?;
        Ok(start.elapsed())
    })
    .await?;
    works_again(&scratch, &db).await
}

#[tokio::test]
async fn a_release_says_that_the_file_was_gone() -> Outcome {
    for deleted in Deleted::ALL {
        let scratch = Scratch::create().await;
        let db = scratch.db().await;
        let guard = db.dlock(KEY).await?;
        deleted.from(&scratch)?;
        let released = guard.release().await;
        assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        works_again(&scratch, &db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_drop_after_the_file_is_gone_does_no_harm() -> Outcome {
    for deleted in Deleted::ALL {
        let scratch = Scratch::create().await;
        let db = scratch.db().await;
        let guard = db.dlock(KEY).await?;
        deleted.from(&scratch)?;
        drop(guard);
        works_again(&scratch, &db).await?;
    }
    Ok(())
}

/// Tells that it was dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_body_is_dropped_when_its_file_is_gone() -> Outcome {
    for deleted in Deleted::ALL {
        let (scratch, db) = database().await;
        let dropped = Arc::new(AtomicBool::new(false));
        let ran = db.dlock(KEY).run(async |_lock| {
            let _flag = Flag(Arc::clone(&dropped));
            deleted.from(&scratch).expect("it is there");
            std::future::pending::<Result<(), Error>>().await
        });
        let ran = soon("the end of the body", ran).await?;
        assert!(matches!(ran, Err(Error::Lost { .. })), "{ran:?}");
        assert!(dropped.load(Ordering::SeqCst));
        works_again(&scratch, &db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_rolls_back_when_its_file_is_gone() -> Outcome {
    for deleted in Deleted::ALL {
        let (scratch, db) = database().await;
        let counter = Counter::named("rolled_back");
        counter.create(&db).await?;
        let lost = db.dlock(KEY).transaction(async |txn| {
            counter.write(txn, 7).await?;
            deleted.from(&scratch).expect("it is there");
            std::future::pending::<Result<(), DbErr>>().await
        });
        let lost = soon("the rollback", lost).await?;
        let error = lost.expect_err("the body never ends by itself").to_string();
        assert!(error.contains("lost"), "{error}");
        assert_eq!(counter.read(&db).await?, 0);
        works_again(&scratch, &db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_that_is_deleted_while_nothing_is_held_is_made_anew() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    for shared in [false, true] {
        for db in [&ours, &theirs] {
            db.dlock(KEY).await?.release().await?;
        }
        fs::remove_dir_all(scratch.locks())?;
        let lock = ours.dlock(KEY);
        let guard = if shared { lock.shared() } else { lock }.await?;
        assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
        guard.release().await?;
        fs::remove_dir_all(scratch.locks())?;
        works_again(&scratch, &theirs).await?;
    }
    Ok(())
}
