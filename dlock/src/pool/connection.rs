//! The application's own connection: what a lock pool belongs to.

use sea_orm::DatabaseConnection;

use super::Lockable;
use crate::backend::{self, Application};
use crate::error::Error;

/// A connection of the application: SeaORM's, or a pool of sqlx. It has a
/// [`LockPool`](crate::LockPool), and it begins transactions.
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

pub(crate) mod sealed {
    use super::{Application, DatabaseConnection, Error};

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
        backend::application(self)
    }

    fn orm(&self) -> DatabaseConnection {
        self.clone()
    }
}

#[cfg(feature = "_sqlx")]
mod sqlx {
    use sea_orm::sqlx::Pool;

    use super::{Application, Connection, DatabaseConnection, Error, sealed};
    use crate::backend::SqlxDatabase;

    impl<DB: SqlxDatabase> Connection for Pool<DB> {}

    #[allow(private_interfaces, reason = "nobody outside can name this trait")]
    impl<DB: SqlxDatabase> sealed::Connection for Pool<DB> {
        fn application(&self) -> Result<&dyn Application, Error> {
            Ok(self)
        }

        fn orm(&self) -> DatabaseConnection {
            DB::orm(self.clone())
        }
    }
}
