//! Pinned locks where no session holds locks: the connection is one beside the lock.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::{Counter, connect};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};

use super::database::{Scratch, held};
use super::memory::{name, named, private_pool};
use crate::suite::{Outcome, in_one_of, soon};

const KEY: i64 = 42;
const NAME: &str = "42";
const KEEPALIVE: Duration = Duration::from_millis(600);

/// The connection sees the same database, also one in memory that is shared.
#[tokio::test]
async fn a_pinned_lock_is_on_the_database_of_its_application() -> Outcome {
    let scratch = Scratch::create().await;
    for url in [scratch.url(), named(&name())] {
        let (ours, theirs) = (connect(&url, 2).await, connect(&url, 2).await);
        let counter = Counter::named("shared");
        counter.create(&ours).await?;
        let guard = ours.dlock(KEY).pinned().await?;
        counter.write(&guard, 5).await?;
        assert_eq!(counter.read(&theirs).await?, 5, "{url}");
        assert!(theirs.dlock(KEY).pinned().try_acquire().await?.is_none());
        let txn = guard.begin().await?;
        counter.write(&txn, 6).await?;
        txn.commit().await?;
        guard.release().await?;
        let guard = theirs.dlock(KEY).pinned().await?;
        assert_eq!(counter.read(&guard).await?, 6, "{url}");
        guard.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_database_of_one_connection_has_no_pinned_locks() -> Outcome {
    for file in [":memory:", ""] {
        let db: DatabaseConnection =
            private_pool(SqliteConnectOptions::new().filename(file)).into();
        let refused = db.dlock(KEY).pinned().await;
        let Err(Error::Unsupported { feature, hint, .. }) = refused else {
            panic!("{file}: {refused:?}");
        };
        assert!(feature.contains("pinned"), "{feature}");
        assert!(
            hint.contains(".run(") && hint.contains("cache=shared"),
            "{hint}"
        );
        let tried = db.dlock(KEY).pinned().try_acquire().await;
        assert!(matches!(tried, Err(Error::Unsupported { .. })), "{tried:?}");
        let status = LockPool::of(&db).status();
        assert_eq!((status.pinned_sessions, status.held), (0, 0), "{status}");
        db.dlock(KEY).await?.release().await?;
    }
    Ok(())
}

/// With a transaction open, and without; nothing more can begin.
#[tokio::test]
async fn a_pinned_lock_whose_file_is_deleted_is_lost() -> Outcome {
    for in_transaction in [false, true] {
        let scratch = Scratch::create().await;
        let db = scratch.db().await;
        LockPool::builder(&db).keepalive(KEEPALIVE).install();
        in_one_of(4, KEEPALIVE + Duration::from_millis(300), async || {
            let guard = db.dlock(KEY).pinned().await?;
            let txn = match in_transaction {
                true => Some(guard.begin().await?),
                false => None,
            };
            let copy = DatabaseConnection::clone(&guard);
            std::fs::remove_file(scratch.lock_file(NAME))?;
            let start = std::time::Instant::now();
            soon("the loss", guard.lost()).await?;
            let took = start.elapsed();
            assert!(!guard.is_held());
            for db in [&*guard, &copy] {
                assert!(
                    soon("an error", db.execute_unprepared("SELECT 1"))
                        .await?
                        .is_err()
                );
                assert!(soon("an error", db.begin()).await?.is_err());
            }
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
            drop(txn);
            let again = soon("the lock", db.dlock(KEY).pinned().into_future()).await??;
            assert_eq!(held(&scratch.lock_file(NAME)), 1);
            again.release().await?;
            Ok(took)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_open_transaction_keeps_the_pinned_lock_until_it_ends() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let counter = Counter::named("kept");
    counter.create(&ours).await?;
    for commits in [true, false] {
        counter.write(&ours, 0).await?;
        let guard = ours.dlock(KEY).pinned().await?;
        let txn = guard.begin().await?;
        counter.write(&txn, 7).await?;
        let copy = DatabaseConnection::clone(&guard);
        let released = soon("the answer", guard.release()).await?;
        let Err(Error::Database { phase, source }) = released else {
            panic!("{released:?}");
        };
        assert_eq!(phase, Phase::Release);
        assert!(source.to_string().contains("at work"), "{source}");
        assert!(copy.begin().await.is_err());
        assert_eq!(held(&scratch.lock_file(NAME)), 1);
        assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
        match commits {
            true => txn.commit().await?,
            false => txn.rollback().await?,
        }
        let next = soon("the lock", theirs.dlock(KEY).into_future()).await??;
        assert_eq!(counter.read(&theirs).await?, if commits { 7 } else { 0 });
        next.release().await?;
        scratch.until_empty().await?;
    }
    Ok(())
}

/// Nobody can end a transaction from outside: it outlives the lock, and the pool does not wait for it.
#[tokio::test]
async fn a_close_with_a_limit_does_not_wait_for_a_transaction_on_a_pinned_connection() -> Outcome {
    for is_released in [false, true] {
        let scratch = Scratch::create().await;
        let db = scratch.db().await;
        let counter = Counter::named("closed");
        counter.create(&db).await?;
        let guard = db.dlock(KEY).pinned().await?;
        let txn = guard.begin().await?;
        counter.write(&txn, 1).await?;
        let guard = match is_released {
            true => {
                let released = guard.release().await;
                assert!(
                    matches!(
                        released,
                        Err(Error::Database {
                            phase: Phase::Release,
                            ..
                        })
                    ),
                    "{released:?}"
                );
                None
            }
            false => Some(guard),
        };
        let pool = LockPool::of(&db);
        soon("the end", pool.close_timeout(Duration::from_millis(50))).await?;
        assert!(guard.is_none_or(|guard| !guard.is_held()));
        let theirs = scratch.db().await;
        let next = soon("the lock", theirs.dlock(KEY).into_future()).await??;
        next.release().await?;
        txn.commit().await?;
        assert_eq!(counter.read(&db).await?, 1);
    }
    Ok(())
}
