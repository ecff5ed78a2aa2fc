//! SeaORM's `MockDatabase`: locks in the memory of this process, for unit tests. What is asked, and
//! how it is refused, is as on the database that it imitates; the mock itself is asked nothing,
//! since its results and its log are the test's.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::task::Poll;

use async_trait::async_trait;
use sea_orm::{DatabaseConnectionType, MockDatabaseConnection};

use crate::backend::inline::{LocalSession, Memory};
use crate::backend::origin::{Application, Closed, ConnectSettings};
use crate::backend::pinned::PinnedBase;
use crate::backend::rules::LockRules;
use crate::backend::seam::Backend;
use crate::backend::session::Opened;
use crate::backend::session_error::SessionError;
use crate::error::Error;
use crate::key::CurrentDatabase;

/// A mock and its clones have locks of their own.
impl Application for Arc<MockDatabaseConnection> {
    /// Whoever remembers it has its [`closed`](Application::closed), too, which keeps its address
    /// from being used again.
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

    fn backend(&self, settings: ConnectSettings) -> Arc<dyn Backend> {
        Arc::new(MockBackend {
            mock: Self::downgrade(self),
            rules: (settings.rules_of)(self.get_database_backend()),
            locks: Memory::private(self),
        })
    }

    fn refresh(&self, _: &dyn Any) {}
}

fn is_gone(mock: &Weak<MockDatabaseConnection>) -> bool {
    mock.strong_count() == 0
}

struct MockBackend {
    mock: Weak<MockDatabaseConnection>,
    rules: &'static LockRules,
    locks: Memory,
}

#[async_trait]
impl Backend for MockBackend {
    fn rules(&self) -> &'static LockRules {
        self.rules
    }

    fn database(&self) -> CurrentDatabase {
        CurrentDatabase::Named("main".into())
    }

    async fn connect(&self) -> Result<Opened, SessionError> {
        if is_gone(&self.mock) {
            return Err(SessionError::Refused(Error::PoolClosed));
        }
        let locks = Arc::new(self.locks.clone());
        Ok(Opened::Inline(Arc::new(LocalSession::new(locks))))
    }

    async fn open_pinned(&self) -> Result<PinnedBase, SessionError> {
        let mock = self.mock.upgrade().ok_or(Error::PoolClosed)?;
        Ok(PinnedBase::Sidecar {
            connection: DatabaseConnectionType::MockDatabaseConnection(mock).into(),
            is_private: false,
        })
    }
}
