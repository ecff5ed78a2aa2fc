//! One session on one server: what the pool asks of it, one file per driver. Whoever owns a session owns its socket.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DatabaseConnectionType, DbErr};
use tokio::runtime::Handle;

use crate::dialect::Dialect;
use crate::error::Error;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::pool::{Closed, ServerLock, Task, worker};

/// A lock, as a session asks for it or gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) key: PhysicalKey,
    pub(crate) mode: Mode,
}

/// What goes to the server in one round trip: first the releases, then the tries.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) releases: Vec<Request>,
    pub(crate) tries: Vec<Request>,
}

/// The answers to a [`Batch`], in its order.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) releases: Vec<Answer>,
    pub(crate) tries: Vec<Answer>,
}

/// What the server said to one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The lock was taken, or given back.
    Yes,
    /// Somebody else holds it; or it was not held.
    No,
    /// The server refused this request and changed nothing for it.
    Failed(DbErr),
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// One session on the server. Only a task of the pool owns one. An error of any method means that its state is unknown: it is dropped, and its locks with it.
pub(crate) trait Session: Send + 'static {
    /// Whether [`wait`](Self::wait) can be used; otherwise the pool tries again and again.
    fn can_wait(&self) -> bool;

    /// One round trip, unless the server refuses something.
    fn exchange(&mut self, batch: &Batch) -> impl Future<Output = Result<Answers, DbErr>> + Send;

    /// Waits on the server for about `slice`. The session holds nothing before, and nothing but this lock afterwards, if the answer is `true`.
    fn wait(
        &mut self,
        request: &Request,
        slice: Duration,
    ) -> impl Future<Output = Result<bool, DbErr>> + Send;

    /// A round trip that proves that the session lives.
    fn ping(&mut self) -> impl Future<Output = Result<(), DbErr>> + Send;

    /// Every lock that the server knows of.
    fn locks(&mut self) -> impl Future<Output = Result<Vec<ServerLock>, DbErr>> + Send;

    /// Resolves when the idle session turns out to be gone; never resolves where that cannot be seen. Cancel safe.
    fn gone(&mut self) -> impl Future<Output = DbErr> + Send;

    /// Ends the session, and with it whatever it holds.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Opens sessions.
pub(crate) trait Connector: Send + Sync + 'static {
    type Session: Session;

    fn dialect(&self) -> &'static dyn Dialect;

    /// Opens a session and makes sure that locks on it mean something.
    fn connect(&self) -> impl Future<Output = Result<Self::Session, Error>> + Send;
}

/// A [`Connector`] without its type, as the pool keeps it.
pub(crate) struct Opener {
    pub(crate) dialect: &'static dyn Dialect,
    /// Starts the task of a session.
    pub(crate) start: Box<dyn Fn(&Handle, Task) + Send + Sync>,
    /// The connector itself, for [`Application::refresh`].
    pub(crate) connector: Arc<dyn Any + Send + Sync>,
}

impl Opener {
    pub(crate) fn new<C: Connector>(connector: C) -> Self {
        let connector = Arc::new(connector);
        Self {
            dialect: connector.dialect(),
            connector: Arc::clone(&connector) as _,
            start: Box::new(move |handle, task| {
                handle.spawn(worker::run(task, Arc::clone(&connector)));
            }),
        }
    }
}

/// How sessions are opened: settings of the pool that its connector must know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectSettings {
    pub(crate) keepalive: Duration,
    pub(crate) trust_session_pooling: bool,
}

/// The application's own connection pool. Nothing here keeps it alive.
pub(crate) trait Application {
    /// Differs between any two pools that are alive.
    fn identity(&self) -> usize;

    fn is_closed(&self) -> bool;

    /// Resolves when the pool is closed, or the last handle to it dropped.
    fn closed(&self) -> Closed;

    /// Opens sessions with the options of this pool.
    fn opener(&self, settings: ConnectSettings) -> Opener;

    /// Makes the connector of an earlier [`opener`](Self::opener) use what the application connects with now.
    fn refresh(&self, connector: &dyn Any);
}

/// What stands behind a SeaORM connection.
pub(crate) fn application(db: &DatabaseConnection) -> Result<&dyn Application, Error> {
    match &db.inner {
        #[cfg(feature = "postgres")]
        DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
            Ok(db.get_postgres_connection_pool())
        }
        DatabaseConnectionType::Disconnected => Err(Error::Unsupported {
            backend: "a disconnected `DatabaseConnection`",
            feature: "locks",
            hint: "connect with `Database::connect` first",
        }),
        #[allow(
            unreachable_patterns,
            reason = "which variants exist depends on the features of sea-orm"
        )]
        _ => Err(Error::Unsupported {
            backend: "this kind of `DatabaseConnection`",
            feature: "locks",
            hint: "this version of dlock locks on PostgreSQL by sqlx (feature `postgres`)",
        }),
    }
}
