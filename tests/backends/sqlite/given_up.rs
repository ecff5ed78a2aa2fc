//! Who gives up waiting is in nobody's way from that moment on.

use std::time::Duration;

use dlock::{DLockExt, Error};
use sea_orm::DatabaseConnection;
use tokio::time::timeout;

use super::database::Scratch;
use crate::suite::Outcome;

const KEY: i64 = 42;
const LIMIT: Duration = Duration::from_millis(50);

/// On one thread, so that nothing else runs between the end of the wait and the try.
async fn is_in_nobodys_way(give_up: impl AsyncFn(&DatabaseConnection) -> Outcome) -> Outcome {
    let scratch = Scratch::create().await;
    let (holder, waiter, other) = (scratch.db().await, scratch.db().await, scratch.db().await);
    for db in [&holder, &waiter, &other] {
        db.dlock(KEY).await?.release().await?;
    }
    for _ in 0..10 {
        let held = holder.dlock(KEY).await?;
        give_up(&waiter).await?;
        drop(held);
        let got = other.dlock(KEY).try_acquire().await?;
        got.expect("nobody holds it or waits").release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wait_that_has_timed_out() -> Outcome {
    is_in_nobodys_way(async |db| {
        let waited = db.dlock(KEY).timeout(LIMIT).await;
        assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_wait_that_was_cancelled() -> Outcome {
    is_in_nobodys_way(async |db| {
        let waited = timeout(LIMIT, db.dlock(KEY).into_future()).await;
        assert!(waited.is_err());
        Ok(())
    })
    .await
}
