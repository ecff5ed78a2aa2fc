//! SeaORM's `MockDatabase`: locks in the memory of this process, for unit tests. What is asked, and how it is refused, is as on the database that it imitates;
//! the mock itself is asked nothing, since its results and its log are the test's.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::task::Poll;

use async_trait::async_trait;
use sea_orm::{DatabaseConnectionType, DbErr, MockDatabaseConnection, RuntimeErr};

use crate::backend::inline::{LocalSession, Memory};
use crate::backend::rules::{self, Dialect};
use crate::backend::{
    Application, Closed, ConnectSettings, Connector, PinnedBase, Session, Source,
};
use crate::error::Error;
use crate::key::CurrentDatabase;

impl Source for Arc<MockDatabaseConnection> {
    fn connector(&self, _: ConnectSettings) -> Arc<dyn Connector> {
        Arc::new(MockConnector {
            mock: Self::downgrade(self),
            dialect: rules::of(self.get_database_backend()),
            locks: Memory::private(self),
        })
    }
}

/// A mock and its clones have locks of their own.
impl Application for Arc<MockDatabaseConnection> {
    /// Whoever remembers it has its [`closed`](Application::closed), too, which keeps its address from being used again.
    fn identity(&self) -> usize {
        Self::as_ptr(self).addr()
    }

    /// `DatabaseConnection::close` leaves a mock as it is.
    fn is_closed(&self) -> bool {
        false
    }

    /// Nobody tells when a mock is dropped: it is seen by those who look.
    fn closed(&self) -> Closed {
        let mock = Self::downgrade(self);
        Box::pin(std::future::poll_fn(move |_| match is_gone(&mock) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }))
    }

    fn refresh(&self, _: &dyn Any) {}
}

fn is_gone(mock: &Weak<MockDatabaseConnection>) -> bool {
    mock.strong_count() == 0
}

struct MockConnector {
    mock: Weak<MockDatabaseConnection>,
    dialect: &'static dyn Dialect,
    locks: Memory,
}

#[async_trait]
impl Connector for MockConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        self.dialect
    }

    fn database(&self) -> CurrentDatabase {
        CurrentDatabase::Named("main".into())
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        if is_gone(&self.mock) {
            return Err(Error::PoolClosed);
        }
        let locks = Arc::new(self.locks.clone());
        Ok(Box::new(LocalSession::new(locks)))
    }

    async fn pin(&self) -> Result<PinnedBase, Error> {
        let mock = self.mock.upgrade().ok_or(Error::PoolClosed)?;
        Ok(PinnedBase::Beside {
            connection: DatabaseConnectionType::MockDatabaseConnection(mock).into(),
            is_private: false,
        })
    }
}

/// A transaction does not show that it is a mock's (SeaORM 2.0: `is_mock_connection` of a transaction is `false`), so a lock's statement in it is one like any other:
/// the mock logs it and takes its answer from what the test has prepared. This is what is said when that is nothing.
pub(crate) fn refusal(error: &DbErr) -> Option<Error> {
    let is_ours = match error {
        DbErr::Exec(RuntimeErr::Internal(words)) => {
            words.contains("`exec_results` buffer is empty")
        }
        DbErr::Query(RuntimeErr::Internal(words)) => {
            words.contains("`query_results` buffer is empty")
        }
        _ => false,
    };
    is_ours.then_some(Error::Unsupported {
        backend: "a transaction of a `MockDatabase`",
        feature: "locks that end with it (`.xact()`) without a prepared result",
        hint: "use `db.dlock(key).transaction(..)`, which asks the mock nothing; or append `MockExecResult { rows_affected: 1, .. }` for a lock that is got, and before it, for a row without schema, a query result with the column `database`",
    })
}
