//! [`LockPool`]: the lock sessions behind a connection. Knows no database.

mod acquiring;
mod builder;
mod config;
mod connection;
mod core;
mod dlock;
mod grant;
mod lockable;
mod own;
mod registry;
mod status;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::field::display;

pub(crate) use self::acquiring::Acquiring;
pub use self::builder::LockPoolBuilder;
use self::config::Config;
pub use self::connection::Connection;
use self::core::Core;
pub use self::dlock::{DLock, DLockExt};
pub(crate) use self::grant::Grant;
pub use self::lockable::Lockable;
pub(crate) use self::own::PinnedGrant;
use self::registry::Owner;
pub(crate) use self::registry::has_namespace;
pub use self::status::Status;
use crate::backend::Origin;
pub use crate::engine::Counters;
pub(crate) use crate::engine::{Loss, warned};
use crate::error::{Error, HeldBy};
use crate::key::Key;
use crate::mode::Mode;
use crate::server_lock::ServerLock;
use crate::wait::Wait;

/// The lock sessions of one connection: found, opened and closed by itself. For who wants to see or shape it.
///
/// `db.dlock(key)` finds the pool of its connection, whichever clone of it. It opens no session before its first use and never uses the application's
/// own connections; its sessions connect as those do: same hooks, same TLS, and the
/// options that the connection has at the time of the last `db.dlock(key)`.
/// Closing the connection (`db.close()`), or dropping its last clone, closes the pool.
///
/// A handle is cheap to clone.
///
/// # Unit tests
///
/// With the feature `mock` (on by default) the pool of a SeaORM `MockDatabase` keeps its locks in the memory of this process and runs no statement: each mock has locks of its own,
/// which its clones share. Keys and refusals are those of the database that it imitates (MySQL's for `DbBackend::MySql`), whose feature of dlock it needs. What the server alone
/// knows is not there: MySQL takes `Invoice` and `invoice` for one lock, its mock for two. Closing a mock does nothing; without its last clone, its pool opens no session any more.
///
/// ```no_run
/// # async fn example(db: sea_orm::DatabaseConnection) {
/// use std::time::Duration;
/// use dlock::prelude::*;
///
/// LockPool::builder(&db).namespace("billing").default_timeout(Duration::from_secs(30)).install();
/// println!("{}", LockPool::of(&db).status());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LockPool(Result<Arc<Owner>, Error>);

impl LockPool {
    /// The pool of this connection.
    ///
    /// A connection that cannot lock has one, too: each of its requests says why.
    pub fn of(db: &impl Connection) -> Self {
        match db.application() {
            Ok(application) => registry::find(application, || LockPoolBuilder::new(db).build()),
            Err(error) => Self(Err(error)),
        }
    }

    /// Shapes a pool for this connection.
    pub fn builder(db: &impl Connection) -> LockPoolBuilder<'_> {
        LockPoolBuilder::new(db)
    }

    /// A lock pool on a server that SeaORM has no connection to: the `MsSql` of `dlock::mssql`
    /// (feature `mssql`), or the `Oracle` of `dlock::oracle` (feature `oracle`).
    ///
    /// It opens its own sessions, the first one when it is used first. Locks are taken on the pool:
    /// `pool.dlock(key)`. Keep it for as long as your service runs: a second pool on the same server
    /// knows nothing of the first. [`builder_for`](Self::builder_for) shapes it.
    pub fn open(origin: impl Origin) -> Self {
        Self::builder_for(origin).build()
    }

    /// Shapes a pool for a server that SeaORM has no connection to; see [`open`](Self::open).
    pub fn builder_for(origin: impl Origin) -> LockPoolBuilder<'static> {
        LockPoolBuilder::on_server(origin)
    }

    /// What the pool is doing, and what it has done since it was built. Its `Display` is for people.
    ///
    /// All zero for a connection that cannot lock.
    pub fn status(&self) -> Status {
        match &self.0 {
            Ok(owner) => Status::of(&owner.core.engine),
            Err(_) => Status::default(),
        }
    }

    /// Every lock on the server that this library could have taken, whoever holds it or waits for it, as the server lists them:
    /// on PostgreSQL, all advisory locks of the current database; on MySQL and MariaDB, all user-level locks of the server as far as
    /// [`performance_schema`](https://dev.mysql.com/doc/refman/8.4/en/performance-schema-metadata-locks-table.html) shows them to this account, else those of this
    /// pool's keys that somebody holds; on SQL Server, all application locks of the current database, whose names it shows 32 characters of, or without the permission `VIEW SERVER STATE`
    /// those of this pool's keys that somebody holds; on Oracle, all user locks; on SQLite, those that are held, by which process on Linux only (its
    /// table of locks moves while it is read: on a host where many come and go, one may be missing now and then).
    ///
    /// # Errors
    ///
    /// [`Error::Database`] when the server cannot be asked, [`Error::PoolClosed`], and whatever [`acquire`](crate::DLock::acquire) says to this connection.
    pub async fn locks(&self) -> Result<Vec<ServerLock>, Error> {
        self.owner()?.core.engine.locks().await
    }

    /// Closes the pool: requests that wait and new ones get [`Error::PoolClosed`] at once. It waits
    /// for the guards that are held, then closes the sessions.
    ///
    /// It also waits for a pinned session whose release has failed, until the work on it ends.
    ///
    /// # Cancel safety
    ///
    /// Once called and polled, the pool takes no more requests; dropping the future only stops the waiting.
    pub async fn close(&self) {
        if let Ok(owner) = &self.0 {
            owner.core.engine.begin_close();
            owner.core.engine.drained().await;
        }
    }

    /// Like [`close`](Self::close), but waits at most `limit` for the guards.
    ///
    /// Those that are left then report their loss, which drops the bodies of
    /// [`run`](crate::DLock::run) and [`transaction`](crate::DLock::transaction). The sessions
    /// close when the last guard is gone, after 1 s at the latest. A pinned session that is still
    /// at work then is ended on the server by a session that the pool opens for that, within 5 s
    /// more.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the pool takes no more requests; dropped before the limit, it leaves the guards their locks.
    pub async fn close_timeout(&self, limit: Duration) {
        if let Ok(owner) = &self.0
            && timeout(limit, self.close()).await.is_err()
        {
            owner.core.engine.abandon();
            owner.core.engine.drained().await;
        }
    }

    fn owner(&self) -> Result<&Owner, Error> {
        match &self.0 {
            Ok(owner) => Ok(owner),
            Err(error) => Err(error.clone()),
        }
    }

    /// Without a runtime there is no clock to wait by.
    fn core_here(&self) -> Result<&Arc<Core>, Error> {
        let owner = self.owner()?;
        Handle::try_current().map_err(|_| Error::NoRuntime)?;
        Ok(&owner.core)
    }

    /// How the pool was built.
    pub(crate) fn config(&self) -> Result<&Config, Error> {
        Ok(&self.owner()?.core.config)
    }

    /// The holder that keeps a request of this mode waiting, as far as the pool knows.
    pub(crate) fn held_by(&self, key: &Key, mode: Mode) -> Option<HeldBy> {
        self.owner().ok()?.core.held_by(key, mode)
    }

    /// A request that begins now.
    pub(crate) fn acquiring(
        &self,
        mode: Mode,
        timeout: Option<Duration>,
        one_try: bool,
    ) -> Result<Acquiring, Error> {
        let core = self.core_here()?;
        let wait = core.wait(timeout, one_try);
        Ok(Acquiring::new(Arc::clone(core), mode, wait))
    }

    /// `None`: somebody else has it, and one try was all that was asked for.
    pub(crate) async fn acquire(
        &self,
        key: &Key,
        mode: Mode,
        timeout: Option<Duration>,
        one_try: bool,
    ) -> Result<Option<Grant>, Error> {
        self.acquiring(mode, timeout, one_try)?.finish(key).await
    }

    /// [`acquire`](Self::acquire) on a session of its own. `None` also when there is no room for one.
    pub(crate) async fn acquire_pinned(
        &self,
        key: &Key,
        mode: Mode,
        timeout: Option<Duration>,
        one_try: bool,
    ) -> Result<Option<PinnedGrant>, Error> {
        let wait = self.core_here()?.wait(timeout, one_try);
        let waiting = pin!(own::pin(self, key, mode, wait));
        let grant = warned(waiting, key, wait, || self.held_by(key, mode)).await;
        log_end(key, mode, wait, &grant, |grant| Some(grant.session()));
        grant
    }
}

/// Logs how a request ended. `session`: the server's number for the session that has the lock now,
/// where it is known.
pub(crate) fn log_end<G>(
    key: &Key,
    mode: Mode,
    wait: Wait,
    grant: &Result<Option<G>, Error>,
    session: impl Fn(&G) -> Option<i64>,
) {
    match grant {
        Ok(Some(grant)) => {
            tracing::debug!(%key, %mode, session = session(grant), waited = ?wait.since.elapsed(), "dlock: acquired");
        }
        Err(Error::Timeout {
            waited, held_by, ..
        }) => {
            let held_by = held_by.as_ref().map(display);
            tracing::debug!(%key, %mode, ?waited, held_by, "dlock: timeout");
        }
        Ok(None) | Err(_) => {}
    }
}
