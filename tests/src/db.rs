//! What an application locks on.

use std::fmt;

use dlock::mssql::MsSql;
use dlock::oracle::Oracle;
use dlock::{DLockExt, LockPool, LockPoolBuilder, Lockable};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use crate::{connect, urls};

/// What an application locks on: its connection of SeaORM, or a lock pool, where SeaORM has no connection to such a database.
pub trait Db: DLockExt + Lockable + Clone + fmt::Debug + Send + Sync + 'static {
    /// The database at this URL, for an application with at most this many connections of its own, if it has any.
    fn open(url: &str, connections: u32) -> impl Future<Output = Self> + Send;

    /// The same, whether or not anybody answers there.
    fn open_lazily(url: &str) -> impl Future<Output = Self> + Send;

    /// The same application, whose URL it is, with a lock pool of another shape.
    fn shaped(
        self,
        url: &str,
        shape: impl FnOnce(LockPoolBuilder<'_>) -> LockPoolBuilder<'_>,
    ) -> Self;

    /// A further lock pool for this application, whose URL it is.
    fn builder(&self, url: &str) -> LockPoolBuilder<'_>;

    /// Where there are statements, transactions and tables; `None` where there are locks only.
    fn connection(&self) -> Option<&DatabaseConnection>;
}

impl Db for DatabaseConnection {
    async fn open(url: &str, connections: u32) -> Self {
        connect(url, connections).await
    }

    async fn open_lazily(url: &str) -> Self {
        let mut options = ConnectOptions::new(url);
        options.connect_lazy(true).sqlx_logging(false);
        let db = Database::connect(options).await;
        db.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn shaped(
        self,
        _url: &str,
        shape: impl FnOnce(LockPoolBuilder<'_>) -> LockPoolBuilder<'_>,
    ) -> Self {
        shape(LockPool::builder(&self)).install();
        self
    }

    fn builder(&self, _url: &str) -> LockPoolBuilder<'_> {
        LockPool::builder(self)
    }

    fn connection(&self) -> Option<&DatabaseConnection> {
        Some(self)
    }
}

/// It connects by itself, when it is first used.
impl Db for LockPool {
    async fn open(url: &str, _connections: u32) -> Self {
        pool_at(url).build()
    }

    async fn open_lazily(url: &str) -> Self {
        pool_at(url).build()
    }

    fn shaped(
        self,
        url: &str,
        shape: impl FnOnce(LockPoolBuilder<'_>) -> LockPoolBuilder<'_>,
    ) -> Self {
        shape(pool_at(url)).build()
    }

    fn builder(&self, url: &str) -> LockPoolBuilder<'_> {
        pool_at(url)
    }

    fn connection(&self) -> Option<&DatabaseConnection> {
        None
    }
}

fn pool_at(url: &str) -> LockPoolBuilder<'static> {
    pool_of(url).unwrap_or_else(|| panic!("{url}: that is for SeaORM"))
}

/// A lock pool for the database at this URL; `None` where SeaORM has a connection, which is locked on then.
pub fn pool_of(url: &str) -> Option<LockPoolBuilder<'static>> {
    match url.split_once(':')?.0 {
        "mssql" => Some(LockPool::builder_for(MsSql::new(urls::mssql(url)))),
        "oracle" => Some(LockPool::builder_for(Oracle::new(urls::oracle(url)))),
        _ => None,
    }
}
