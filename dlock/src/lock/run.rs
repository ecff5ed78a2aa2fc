//! Closures under a lock: what is acquired is released, whatever the body does.

use std::pin::pin;

use sea_orm::{DatabaseTransaction, DbErr, TransactionOptions, TransactionTrait};

use super::{DLock, DLockGuard};
use crate::error::{Error, Phase};
use crate::pool::Lockable;
use crate::session::Connection;

impl<C> DLock<'_, C> {
    /// Holds the lock around `body`, and releases it whatever the body does: return, fail, panic, or be dropped.
    ///
    /// When the lock is lost the body is dropped at its next await, and the error is [`Error::Lost`]. A release that fails after the body has finished is
    /// logged, not returned.
    ///
    /// ```no_run
    /// # use dlock::prelude::*;
    /// # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), dlock::Error> {
    /// let total = db.dlock("invoice/42").run(async |_lock| Ok::<_, dlock::Error>(42)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the body returns, and the errors of [`acquire`](Self::acquire) and [`Error::Lost`], turned into the body's error type.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body first, then the guard.
    pub async fn run<T, E, F>(self, body: F) -> Result<T, E>
    where
        C: Lockable,
        F: AsyncFnOnce(&DLockGuard) -> Result<T, E>,
        E: From<Error>,
    {
        let guard = self.acquire().await?;
        let finished = {
            let mut body = pin!(body(&guard));
            tokio::select! {
                biased;
                () = guard.lost() => None,
                result = &mut body => Some(result),
            }
        };
        match finished {
            Some(result) => {
                release(guard).await;
                result
            }
            None => Err(lost(&guard).into()),
        }
    }

    /// Holds the lock around a transaction: lock, `BEGIN`, `body`, `COMMIT` (or `ROLLBACK` when the body fails), unlock, in this order.
    ///
    /// So the body sees all that earlier holders have committed, on every isolation level, and nobody gets the lock before the commit is done.
    /// When the lock is lost before `COMMIT` is sent, the transaction is rolled back and the error is [`Error::Lost`]; afterwards the result of `COMMIT` counts.
    ///
    /// ```no_run
    /// # use dlock::prelude::*;
    /// # use sea_orm::ConnectionTrait;
    /// # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), sea_orm::DbErr> {
    /// db.dlock("invoice/42")
    ///     .transaction(async |txn| txn.execute_unprepared("UPDATE invoice SET paid = true WHERE id = 42").await)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the body returns, and the errors of [`acquire`](Self::acquire), [`Error::Lost`], and [`Error::Database`] of the phases begin, commit and rollback,
    /// turned into the body's error type.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the body has finished rolls back, then unlocks. Once `COMMIT` is sent it is carried out, and the lock is held until it is done.
    pub async fn transaction<T, E, F>(self, body: F) -> Result<T, E>
    where
        C: Connection + Lockable,
        F: AsyncFnOnce(&DatabaseTransaction) -> Result<T, E>,
        E: From<Error>,
    {
        let options = TransactionOptions::default();
        self.transaction_with_options(options, body).await
    }

    /// [`transaction`](Self::transaction) with an isolation level or access mode.
    ///
    /// # Errors
    ///
    /// Those of [`transaction`](Self::transaction).
    ///
    /// # Cancel safety
    ///
    /// That of [`transaction`](Self::transaction).
    pub async fn transaction_with_options<T, E, F>(
        self,
        options: TransactionOptions,
        body: F,
    ) -> Result<T, E>
    where
        C: Connection + Lockable,
        F: AsyncFnOnce(&DatabaseTransaction) -> Result<T, E>,
        E: From<Error>,
    {
        let db = self.on.orm();
        let guard = self.acquire().await?;
        let begun = db.begin_with_options(options).await;
        let txn = begun.map_err(|error| Phase::Begin.failed(error))?;
        let finished = {
            let mut body = pin!(body(&txn));
            tokio::select! {
                biased;
                () = guard.lost() => None,
                result = &mut body => Some(result),
            }
        };
        let Some(result) = finished else {
            let error = lost(&guard);
            drop(end(txn.rollback(), guard).await);
            return Err(error.into());
        };
        match result {
            Ok(value) => {
                commit(txn, guard).await?;
                Ok(value)
            }
            Err(error) => {
                if let Err(rollback) = end(txn.rollback(), guard).await {
                    tracing::warn!(error = %rollback, "dlock: rollback failed");
                }
                Err(error)
            }
        }
    }
}

/// A loss that is seen before COMMIT is sent rolls back.
async fn commit(txn: DatabaseTransaction, guard: DLockGuard) -> Result<(), Error> {
    if guard.is_held() {
        let committed = end(txn.commit(), guard).await;
        return committed.map_err(|error| Phase::Commit.failed(error));
    }
    let error = lost(&guard);
    drop(end(txn.rollback(), guard).await);
    Err(error)
}

/// Ends the transaction and unlocks then, in a task of its own: a caller that goes away cannot pull the unlock in front of the COMMIT.
async fn end(
    ending: impl Future<Output = Result<(), DbErr>> + Send + 'static,
    guard: DLockGuard,
) -> Result<(), DbErr> {
    let task = tokio::spawn(async move {
        let ended = ending.await;
        release(guard).await;
        ended
    });
    match task.await {
        Ok(ended) => ended,
        Err(error) => Err(DbErr::Custom(format!("the runtime ended: {error}"))),
    }
}

async fn release(guard: DLockGuard) {
    if let Err(error) = guard.release().await {
        tracing::warn!(%error, "dlock: the lock was gone when its body had finished");
    }
}

fn lost(guard: &DLockGuard) -> Error {
    let key = guard.key().clone();
    tracing::warn!(%key, "dlock: the lock was lost while its body ran");
    Error::Lost { key }
}
