//! `.xact()`: SQLite has no lock that ends with a transaction, and says so.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::Counter;
use sea_orm::TransactionTrait;

use super::database::Scratch;
use crate::suite::Outcome;

const KEY: i64 = 42;

#[tokio::test]
async fn a_lock_of_a_transaction_is_refused_and_the_transaction_is_usable() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let counter = Counter::named("usable");
    counter.create(&db).await?;
    let txn = db.begin().await?;
    counter.write(&txn, 1).await?;
    let limit = Duration::from_secs(5);
    for refused in [
        txn.dlock(KEY).xact().await,
        txn.dlock(KEY).xact().shared().await,
        txn.dlock(KEY).xact().timeout(limit).await,
        txn.dlock(KEY).xact().try_acquire().await.map(drop),
    ] {
        let Err(Error::Unsupported { backend, hint, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(backend, "SQLite");
        assert!(hint.contains(".transaction("), "{hint}");
    }
    assert!(!scratch.locks().exists());
    assert_eq!(LockPool::of(&db).status().counters.acquired, 0);
    counter.write(&txn, 2).await?;
    txn.commit().await?;
    assert_eq!(counter.read(&db).await?, 2);
    assert!(db.dlock(KEY).try_acquire().await?.is_some());
    Ok(())
}
