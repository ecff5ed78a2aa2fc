//! A pinned lock that is held: a connection of SeaORM.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseExecutor, DatabaseTransaction,
    DbBackend, DbErr, ExecResult, IntoDatabaseExecutor, IsolationLevel, QueryResult, Statement,
    TransactionError, TransactionOptions, TransactionTrait,
};

use super::held::Held;
use super::run::Guard;
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::pool::PinnedGrant;

/// A lock that is held, and a connection on the server session that holds it: work on it cannot
/// outlive the lock.
///
/// It dereferences to a [`DatabaseConnection`] that has this one session and never opens another.
/// `&guard` serves wherever SeaORM takes a connection, also for transactions and (feature `stream`)
/// streams. `guard.dlock(key)` asks the application's own [`LockPool`](crate::LockPool).
///
/// The session is opened like the application's connections, with their `after_connect` hook and
/// their statement limits. Their other hooks do not run, and SeaORM's own settings of a connection
/// (metrics, access control) do not apply.
///
/// # Loss
///
/// Uncommitted work dies with the session. The pool pings the session every 500 ms while the
/// connection is idle. While the holder is at work on it (an open transaction, a running statement,
/// a stream) no session of the pool asks about it: the holder's next statement fails. See
/// [`lost`](Self::lost).
///
/// # Release
///
/// [`release`](Self::release) and drop close the session, with all that is set in it. Work that is
/// still going on has 500 ms to end. Then the pool opens a session, which ends this one on the
/// server within 5 s: the server rolls back before the lock is free. Statements on a copy of the
/// connection fail from then on.
///
/// # Databases
///
/// * **PostgreSQL:** `pg_advisory_unlock_all()` on it gives the lock away: the release reports it.
///   `DISCARD ALL` and `RESET ALL` remove the stamp by which the session proves itself: the next
///   ping reports the lock lost and closes the session.
/// * **MySQL, MariaDB:** the ping is a statement: `FOUND_ROWS()`, `ROW_COUNT()` and `SHOW WARNINGS`
///   belong in the transaction of the statement that they are about. The server ends a session that
///   sends nothing in a transaction for 40 times the pool's
///   [`keepalive`](crate::LockPoolBuilder::keepalive), a minute at least.
/// * **SQLite:** no session holds locks: the connection is one of its own beside the lock. No other
///   session can end its transaction: the lock stays until that ends. When the lock is lost, or
///   taken away by [`close_timeout`](crate::LockPool::close_timeout), an open transaction may still
///   commit. A database in memory that only one connection can see has no pinned locks.
/// * **A mock:** the connection is the mock itself, which outlives the lock.
///
/// Dropping it releases on any thread, with or without a runtime, also while panicking; `let _ =` holds nothing.
///
/// ```no_run
/// # use dlock::prelude::*;
/// # use sea_orm::{ConnectionTrait, TransactionTrait};
/// # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), sea_orm::DbErr> {
/// let guard = db.dlock("invoice/42").pinned().await?;
/// let txn = guard.begin().await?;
/// txn.execute_unprepared("UPDATE invoice SET paid = true WHERE id = 42").await?;
/// txn.commit().await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a guard that is dropped releases its lock at once"]
pub struct PinnedGuard(Held<PinnedGrant>);

impl fmt::Debug for PinnedGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PinnedGuard").field(&self.0).finish()
    }
}

impl PinnedGuard {
    pub(super) fn new(key: Key, mode: Mode, grant: PinnedGrant) -> Self {
        Self(Held::begin(key, mode, grant))
    }

    /// The key as it was asked for.
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// What the server knows the lock by; its text is what to look for on the server.
    pub fn physical_key(&self) -> &PhysicalKey {
        self.0.grant().key()
    }

    /// Exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Whether the lock is still held, as far as is known: `false` once [`lost`](Self::lost)
    /// resolves.
    pub fn is_held(&self) -> bool {
        !self.0.grant().loss().is_set()
    }

    /// Resolves when the lock is lost with its session, and never before.
    ///
    /// * The connection is idle, and its socket closes: within 1 s.
    /// * The connection is idle, and its network goes silent: within the pool's
    ///   [`keepalive`](crate::LockPoolBuilder::keepalive) and 500 ms.
    /// * The holder is at work on it: within 1 s after the holder's next statement has failed and
    ///   the connection is idle again.
    ///
    /// A statement that fails inside a transaction leaves the connection at work until the
    /// transaction is dropped; a failed `COMMIT` ends it. A server that closes the session rolls
    /// back what was not committed.
    ///
    /// After the holder's work, the connection goes back to the pool with a round trip. One that
    /// takes longer than half the keepalive counts as silence: the rollback of a large transaction
    /// that was dropped can take that long. The lock is free when the server has done it.
    ///
    /// In a silent network, a statement fails by the limits that the application or its operating
    /// system has set for it. dlock reports no loss before that.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again; it changes nothing.
    pub async fn lost(&self) {
        self.0.grant().loss().wait().await;
    }

    /// Gives the lock back, waits until the server has confirmed it, and closes the session.
    ///
    /// While the holder is at work on the session it takes 500 ms, and up to 5 s more to
    /// [end the session](Self#release).
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the session was lost before: the lock was free from some moment on.
    ///
    /// [`Error::Database`] of the phase release when the holder is at work for 500 ms more and the
    /// session cannot be ended within 5 s after that: on SQLite always, elsewhere when no session
    /// can be opened or the server refuses. The lock is free as soon as the work ends.
    ///
    /// # Cancel safety
    ///
    /// The release is on its way before the first await; dropping the future only drops the answer.
    pub async fn release(self) -> Result<(), Error> {
        self.0.release_by(PinnedGrant::release).await
    }
}

/// As on [`DatabaseConnection`], where two traits of SeaORM have it.
impl PinnedGuard {
    /// Which database it is.
    pub fn get_database_backend(&self) -> DbBackend {
        (**self).get_database_backend()
    }
}

impl<'c> IntoDatabaseExecutor<'c> for &'c PinnedGuard {
    fn into_database_executor(self) -> DatabaseExecutor<'c> {
        DatabaseExecutor::Connection(self)
    }
}

impl Guard for PinnedGuard {
    fn key(&self) -> &Key {
        self.key()
    }

    fn lost(&self) -> impl Future<Output = ()> + Send {
        self.lost()
    }

    fn loss(&self) -> Error {
        self.0.loss()
    }

    fn release(self) -> impl Future<Output = Result<(), Error>> + Send {
        self.release()
    }
}

impl Deref for PinnedGuard {
    type Target = DatabaseConnection;

    fn deref(&self) -> &DatabaseConnection {
        self.0.grant().connection()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for PinnedGuard {
    fn get_database_backend(&self) -> DbBackend {
        (**self).get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        (**self).execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        (**self).execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        (**self).query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        (**self).query_all_raw(statement).await
    }

    fn support_returning(&self) -> bool {
        (**self).support_returning()
    }

    fn is_mock_connection(&self) -> bool {
        (**self).is_mock_connection()
    }
}

#[cfg(feature = "stream")]
impl sea_orm::StreamTrait for PinnedGuard {
    type Stream<'a> = <DatabaseConnection as sea_orm::StreamTrait>::Stream<'a>;

    fn get_database_backend(&self) -> DbBackend {
        (**self).get_database_backend()
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        sea_orm::StreamTrait::stream_raw(&**self, statement)
    }
}

#[async_trait::async_trait]
impl TransactionTrait for PinnedGuard {
    type Transaction = DatabaseTransaction;

    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        (**self).begin().await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<DatabaseTransaction, DbErr> {
        (**self)
            .begin_with_config(isolation_level, access_mode)
            .await
    }

    async fn begin_with_options(
        &self,
        options: TransactionOptions,
    ) -> Result<DatabaseTransaction, DbErr> {
        (**self).begin_with_options(options).await
    }

    async fn transaction<F, T, E>(&self, body: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c DatabaseTransaction,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: std::fmt::Display + std::fmt::Debug + Send,
    {
        (**self).transaction(body).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        body: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c DatabaseTransaction,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: std::fmt::Display + std::fmt::Debug + Send,
    {
        (**self)
            .transaction_with_config(body, isolation_level, access_mode)
            .await
    }
}
