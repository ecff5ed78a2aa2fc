//! What locks belong to: the application's own connection.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use sea_orm::{DatabaseConnection, DatabaseConnectionType};

use super::{Connector, unlockable};
use crate::error::Error;
use crate::pool::Lockable;

/// Resolves when the application's own connection is closed.
pub(crate) type Closed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether it is closed already.
pub(crate) fn is_over(closed: &mut Closed) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    closed.as_mut().poll(&mut context).is_ready()
}

/// How sessions are opened: settings of the pool that its connector must know.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(all(feature = "postgres", feature = "oracle")),
    allow(
        dead_code,
        reason = "only PostgreSQL has poolers to trust, and Oracle threads to count"
    )
)]
pub(crate) struct ConnectSettings {
    pub(crate) keepalive: Duration,
    pub(crate) max_sessions: usize,
    pub(crate) trust_session_pooling: bool,
}

/// Where sessions come from.
pub(crate) trait Source {
    /// Opens sessions with the options of this source.
    fn connector(&self, settings: ConnectSettings) -> Arc<dyn Connector>;
}

/// The application's own connection pool. Nothing here keeps it alive.
pub(crate) trait Application: Source {
    /// Differs between any two pools that are alive.
    fn identity(&self) -> usize;

    fn is_closed(&self) -> bool;

    /// Resolves when the pool is closed, or the last handle to it dropped.
    fn closed(&self) -> Closed;

    /// Makes an earlier [`connector`](Source::connector) use what the application connects with now.
    fn refresh(&self, connector: &dyn Any);
}

/// A connection of the application: SeaORM's, or a pool of sqlx. It has a [`LockPool`](crate::LockPool), and it begins transactions.
///
/// It is the bound of code that is generic over connections. A transaction is none: its locks end
/// with it, see [`xact`](crate::DLock::xact).
///
/// ```no_run
/// use dlock::prelude::*;
/// use sea_orm::ConnectionTrait;
///
/// async fn pay<C>(db: &C) -> Result<(), sea_orm::DbErr>
/// where
///     C: dlock::Connection + ConnectionTrait,
/// {
///     let guard = db.dlock("invoice/42").await?;
///     db.execute_unprepared("UPDATE invoice SET paid = true WHERE id = 42").await?;
///     Ok(guard.release().await?)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no connection of its own",
    note = "use the `DatabaseConnection`, or sqlx's pool"
)]
pub trait Connection: sealed::Connection + Lockable {}

impl Connection for DatabaseConnection {}
#[cfg(feature = "mysql")]
impl Connection for sea_orm::sqlx::MySqlPool {}
#[cfg(feature = "postgres")]
impl Connection for sea_orm::sqlx::PgPool {}
#[cfg(feature = "sqlite")]
impl Connection for sea_orm::sqlx::SqlitePool {}

pub(crate) mod sealed {
    use super::{Application, Error};
    use sea_orm::DatabaseConnection;

    #[allow(private_interfaces, reason = "nobody outside can name this trait")]
    pub trait Connection {
        fn application(&self) -> Result<&dyn Application, Error>;

        /// The connection as SeaORM sees it.
        fn orm(&self) -> DatabaseConnection;
    }
}

#[allow(private_interfaces, reason = "nobody outside can name this trait")]
impl sealed::Connection for DatabaseConnection {
    fn application(&self) -> Result<&dyn Application, Error> {
        match &self.inner {
            #[cfg(feature = "mysql")]
            DatabaseConnectionType::SqlxMySqlPoolConnection(_) => {
                Ok(self.get_mysql_connection_pool())
            }
            #[cfg(feature = "postgres")]
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                Ok(self.get_postgres_connection_pool())
            }
            #[cfg(feature = "sqlite")]
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                Ok(self.get_sqlite_connection_pool())
            }
            #[cfg(feature = "mock")]
            DatabaseConnectionType::MockDatabaseConnection(mock) => Ok(mock),
            DatabaseConnectionType::Disconnected => Err(unlockable::DISCONNECTED),
            #[allow(
                unreachable_patterns,
                reason = "which variants exist depends on the features of sea-orm"
            )]
            other => Err(unlockable::kind(other)),
        }
    }

    fn orm(&self) -> DatabaseConnection {
        self.clone()
    }
}
