//! Closures under a lock: what is acquired is released, whatever the body does.

use std::pin::{Pin, pin};

use sea_orm::{
    DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionSession,
    TransactionTrait,
};
use tokio::runtime::Handle;

use super::DLockGuard;
use crate::error::{Error, Phase};
use crate::key::Key;
use crate::mode::Mode;
use crate::pool::DLock;
use crate::pool::{Connection, Lockable};

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
        hold_around(self.acquire().await?, body).await
    }

    /// Holds the lock around a transaction: lock, `BEGIN`, `body`, `COMMIT` (or `ROLLBACK` when the body fails), unlock, in this order.
    ///
    /// So the body sees all that earlier holders have committed, on every isolation level, and nobody gets the lock before the commit is done.
    /// When the lock is lost before `COMMIT` is sent, the transaction is rolled back and the error is [`Error::Lost`]; afterwards the result of `COMMIT` counts.
    ///
    /// On SQLite the transaction under an exclusive lock is an immediate one, which waits for whoever writes anything else: one that has read first
    /// [could not write](https://www.sqlite.org/isolation.html) when others have written in between. Under a shared lock it is a deferred one, for bodies that only read. So one in the body
    /// of another waits for that until SQLite gives up (`database is locked`): nest [`run`](Self::run) around it.
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
    /// What the body returns, and the errors of [`acquire`](Self::acquire), [`Error::Lost`], and [`Error::Database`] of the phases begin and commit,
    /// turned into the body's error type.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the body has finished rolls back and then unlocks, in a task of its own. Once `COMMIT` is sent it is carried out, and the lock is held until it is done.
    pub async fn transaction<T, E, F>(self, body: F) -> Result<T, E>
    where
        C: Connection + Lockable,
        F: AsyncFnOnce(&DatabaseTransaction) -> Result<T, E>,
        E: From<Error>,
    {
        let options = TransactionOptions {
            // Read by SeaORM on SQLite only.
            sqlite_transaction_mode: (self.mode == Mode::Exclusive)
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.transaction_with_options(options, body).await
    }

    /// [`transaction`](Self::transaction) with an isolation level, an access mode, or SQLite's own mode, all as the options say.
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
        let locked = LockedTransaction(Some((txn, guard)));
        let finished = {
            let (txn, guard) = locked.parts();
            unless_lost(guard.lost(), pin!(body(txn))).await
        };
        match finished {
            Some(Ok(value)) if locked.parts().1.is_held() => {
                let committed = locked.end(TransactionSession::commit).await;
                committed.map_err(|error| Phase::Commit.failed(error))?;
                Ok(value)
            }
            Some(Err(error)) => {
                locked.rollback().await;
                Err(error)
            }
            // Lost while the body ran, or just before COMMIT would have been sent.
            None | Some(Ok(_)) => {
                let error = lost(locked.parts().1);
                locked.rollback().await;
                Err(error.into())
            }
        }
    }
}

/// What is held around a body.
pub trait Guard {
    fn key(&self) -> &Key;

    fn lost(&self) -> impl Future<Output = ()> + Send;

    /// The error of a lock that is lost.
    fn loss(&self) -> Error;

    fn release(self) -> impl Future<Output = Result<(), Error>> + Send;
}

pub(super) async fn hold_around<G, T, E, F>(guard: G, body: F) -> Result<T, E>
where
    G: Guard,
    F: AsyncFnOnce(&G) -> Result<T, E>,
    E: From<Error>,
{
    let returned = unless_lost(guard.lost(), pin!(body(&guard))).await;
    match returned {
        Some(result) => {
            released(guard.release().await);
            result
        }
        None => Err(lost(&guard).into()),
    }
}

/// What the body returns; `None` when the lock is lost, after which the body is polled no more.
pub async fn unless_lost<T>(
    lost: impl Future<Output = ()>,
    body: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = lost => None,
        returned = body => Some(returned),
    }
}

/// A release that fails after the body has finished is told to the log only.
pub fn released(release: Result<(), Error>) {
    if let Err(error) = release {
        tracing::warn!(%error, "dlock: release failed after the body had finished");
    }
}

/// The error of a body that was dropped because its lock was lost.
pub fn lost(guard: &impl Guard) -> Error {
    let key = guard.key();
    tracing::warn!(%key, "dlock: the lock was lost while its body ran");
    guard.loss()
}

/// A transaction and the lock around it. However it goes, the transaction ends first, in a task of its own: a caller that goes away cannot pull the unlock in front.
struct LockedTransaction(Option<(DatabaseTransaction, DLockGuard)>);

impl LockedTransaction {
    fn parts(&self) -> (&DatabaseTransaction, &DLockGuard) {
        let (txn, guard) = self.0.as_ref().expect("BUG: it has not ended");
        (txn, guard)
    }

    async fn end<F>(mut self, end: impl FnOnce(DatabaseTransaction) -> F) -> Result<(), DbErr>
    where
        F: Future<Output = Result<(), DbErr>> + Send + 'static,
    {
        let (txn, guard) = self.0.take().expect("BUG: it has not ended");
        let ending = end(txn);
        let task = tokio::spawn(end_and_release(ending, guard));
        let ended = task.await;
        ended.unwrap_or_else(|error| Err(DbErr::Custom(format!("the runtime ended: {error}"))))
    }

    async fn rollback(self) {
        if let Err(error) = self.end(TransactionSession::rollback).await {
            tracing::warn!(%error, "dlock: rollback failed");
        }
    }
}

/// The body was dropped or panicked.
impl Drop for LockedTransaction {
    fn drop(&mut self) {
        if let Some((txn, guard)) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(end_and_release(txn.rollback(), guard));
        }
    }
}

async fn end_and_release(
    ending: impl Future<Output = Result<(), DbErr>> + Send,
    guard: DLockGuard,
) -> Result<(), DbErr> {
    let ended = ending.await;
    released(guard.release().await);
    ended
}
