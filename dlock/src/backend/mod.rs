//! One session on one server: what the pool asks of it, one file per driver. Whoever owns a session owns its socket.

#[cfg(any(feature = "mssql", feature = "oracle"))]
mod alone;
#[cfg(any(feature = "postgres", feature = "oracle"))]
mod digest;
#[cfg(any(feature = "mssql", feature = "oracle"))]
mod doubt;
#[cfg(any(feature = "sqlite", feature = "mock"))]
mod inline;
mod left_out;
#[cfg(feature = "mock")]
mod mock;
#[cfg(feature = "mssql")]
mod mssql;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(
    feature = "postgres",
    feature = "mysql",
    feature = "mssql",
    feature = "oracle"
))]
mod one_database;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod one_server;
#[cfg(feature = "oracle")]
mod oracle;
mod origin;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod probe;
pub(crate) mod rules;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod sqlx;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "mssql"))]
mod trouble;
mod unlockable;

#[cfg(feature = "mssql")]
pub(crate) use self::mssql::MsSqlServer;
#[cfg(feature = "oracle")]
pub(crate) use self::oracle::OracleServer;
pub use self::origin::Connection;
pub(crate) use self::origin::{Application, Closed, ConnectSettings, Source, is_over, sealed};

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{DatabaseConnection, DbErr};

use self::rules::Dialect;
use crate::error::{Error, Phase};
use crate::key::{CurrentDatabase, PhysicalKey};
use crate::mode::Mode;
use crate::server_lock::{Holder, ServerLock};

/// A wait is cut in slices, none of them longer.
pub(crate) const LONGEST_SLICE: Duration = Duration::from_secs(2);

/// How long a server that refuses connections may take to come (back) up.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "mssql"))]
const STARTUP: Duration = Duration::from_secs(5);

/// What is said of a server that can be connected to no more, or answers nothing more, though nobody has closed or refused anything.
pub(crate) const SILENT: &str = "no answer from the server";

/// Whether nobody listens where the server was, as far as the operating system knows.
pub(crate) fn nobody_is_there(error: &DbErr) -> bool {
    match error {
        #[cfg(any(feature = "postgres", feature = "mysql"))]
        DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error)) => sqlx::open::nobody_listens(error),
        _ => false,
    }
}

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

impl Batch {
    pub(crate) fn of_releases(releases: Vec<Request>) -> Self {
        Self {
            releases,
            ..Self::default()
        }
    }

    pub(crate) fn of_one_try(request: &Request) -> Self {
        Self {
            tries: vec![request.clone()],
            ..Self::default()
        }
    }

    pub(crate) fn clear(&mut self) {
        self.releases.clear();
        self.tries.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.releases.is_empty() && self.tries.is_empty()
    }
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
    /// The server ended the wait, because it closed a circle.
    #[cfg_attr(
        not(any(feature = "mssql", feature = "oracle", test)),
        allow(dead_code, reason = "the other servers see no circle of sessions")
    )]
    Deadlock,
    /// The server refused this request and changed nothing for it.
    Failed(DbErr),
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Why a session is not used any more.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SessionError {
    /// It has ended, or its state is unknown: its locks are lost.
    #[error("{0}")]
    Ended(DbErr),
    /// Its answers are not those of the server session that holds the pool's locks: all locks of the pool are lost.
    #[error("{0}")]
    Refused(Error),
}

impl SessionError {
    /// The error for a caller, in this phase.
    pub(crate) fn of(self, phase: Phase) -> Error {
        match self {
            Self::Ended(error) => phase.failed(error),
            Self::Refused(error) => error,
        }
    }
}

impl From<DbErr> for SessionError {
    fn from(error: DbErr) -> Self {
        Self::Ended(error)
    }
}

const NOT_PINNED: &str = "no session was pinned here";

/// One session on the server. Only a task of the pool owns one. After an error of any method it is closed, and its locks with it.
#[async_trait]
pub(crate) trait Session: Send {
    /// The server's number for it, as [`Holder::session`] has it.
    fn number(&self) -> i64;

    /// Whether [`wait`](Self::wait) can be used; otherwise the pool tries again and again.
    fn can_wait(&self) -> bool;

    /// Where [`gone`](Self::gone) does not see everything that ends the locks: how often [`ping`](Self::ping) has to look while the session holds any.
    fn heartbeat(&self) -> Option<Duration> {
        None
    }

    /// What needs no task, where there is no server in between: from then on it is used in the place of [`exchange`](Self::exchange).
    fn local(&self) -> Option<Arc<dyn Local>> {
        None
    }

    /// One round trip, unless the server refuses something.
    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, SessionError>;

    /// Waits on the server for `slice` at most. The session holds nothing before, and nothing but this lock afterwards, if the answer is yes.
    /// Cancel safe where there is a [`local`](Self::local).
    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, SessionError>;

    /// Makes a lock that it holds one of this mode, and waits for that for `slice` at most. Only asked for where the [dialect](Dialect::upgraded) knows it.
    async fn upgrade(&mut self, _: &Request, _slice: Duration) -> Result<Answer, SessionError> {
        unreachable!("BUG: the dialect knows no upgrade")
    }

    /// A round trip that proves that the session lives, and its locks with it.
    async fn ping(&mut self) -> Result<(), SessionError>;

    /// Every lock that the server knows of; one that does not tell is asked about those that are `known`. Here only a [`DbErr::Conn`] is an end of the session.
    async fn locks(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, DbErr>;

    /// Whether [`holder_of`](Self::holder_of) costs a few statements only, whatever else is locked.
    fn tells_holders(&self) -> bool {
        false
    }

    /// A session that holds this lock, for a person to read. Errors are those of
    /// [`locks`](Self::locks).
    async fn holder_of(&mut self, _: &PhysicalKey) -> Result<Option<Holder>, DbErr> {
        Ok(None)
    }

    /// Whether the server session of this number holds this lock. Only asked for where sessions can be [pinned](Connector::pin).
    async fn sees(&mut self, _lock: &Request, _holder: i64) -> Result<bool, SessionError> {
        unreachable!("BUG: {NOT_PINNED}")
    }

    /// Ends the server session of this number, if it holds this lock; the lock is free a little later. Only asked for where sessions can be pinned.
    async fn end(&mut self, _lock: &Request, _holder: i64) -> Result<(), SessionError> {
        unreachable!("BUG: {NOT_PINNED}")
    }

    /// Resolves when the idle session turns out to be gone; never resolves where that cannot be seen. Cancel safe.
    async fn gone(&mut self) -> DbErr;

    /// Ends the session, and with it whatever it holds.
    async fn close(self: Box<Self>);
}

/// The part of a session that answers at once. Whoever has something for it carries it out himself, on any thread: so a guard that is dropped has released.
pub(crate) trait Local: fmt::Debug + Send + Sync {
    fn exchange(&self, batch: &Batch) -> Answers;

    /// Whether a lock that it holds is still there.
    fn holds(&self, key: &PhysicalKey) -> bool;

    /// Nobody waits any more for what this session [waits](Session::wait) for: it is in nobody's way from now on.
    fn leave(&self);
}

/// A server session for one lock, whose holder works on it as well: one connection, which goes back and forth between the holder and the pool.
#[async_trait]
pub(crate) trait Pinned: Send {
    /// What the holder works with.
    fn connection(&self) -> DatabaseConnection;

    /// The server's number for the session.
    fn number(&self) -> i64;

    /// The session, unless its holder is at work on it. It stays with the pool until it is [lent](Self::lend).
    fn take(&mut self) -> Result<Option<&mut dyn Session>, DbErr>;

    /// The session, as soon as its holder has left it. Cancel safe.
    async fn taken(&mut self) -> Result<&mut dyn Session, DbErr>;

    /// The holder may work on it.
    fn lend(&mut self);

    /// Ends the session at once if it is here, else when its holder leaves it. From now on nobody can begin anything on it.
    async fn close(self: Box<Self>);
}

/// What a pinned lock is made of.
pub(crate) enum PinnedBase {
    /// A session that holds the lock itself.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        allow(dead_code, reason = "there is no server")
    )]
    Session(Box<dyn Pinned>),
    /// Where no server session holds locks: a connection for the holder's work, beside a lock like any other.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "mock")),
        allow(dead_code, reason = "there are servers only")
    )]
    Beside {
        connection: DatabaseConnection,
        /// It is nobody else's.
        is_private: bool,
    },
}

/// Opens sessions.
#[async_trait]
pub(crate) trait Connector: Any + Send + Sync {
    /// As far as the server is known: from the first session on for certain.
    fn dialect(&self) -> &'static dyn Dialect;

    /// The database in which the sessions are: known from the first one on.
    fn database(&self) -> CurrentDatabase;

    /// Why the session that is being opened is not there yet.
    fn trouble(&self) -> Option<Error> {
        None
    }

    /// Opens a session and makes sure that locks on it mean something.
    async fn connect(&self) -> Result<Box<dyn Session>, Error>;

    /// Whether a new session was on another server than the live ones, which have to show now that
    /// theirs still answers.
    fn is_disputed(&self) -> bool {
        false
    }

    /// A lock for two sessions to try whether their locks exclude each other; `None` where that is
    /// known.
    fn exclusion_probe(&self) -> Option<PhysicalKey> {
        None
    }

    /// They do.
    fn set_excludes(&self) {}

    /// No session is opened any more: this is why.
    fn refuse_for_good(&self, _: &Error) {}

    /// Opens what one pinned lock needs.
    async fn pin(&self) -> Result<PinnedBase, Error>;
}

/// What it means when a lock's statement in a transaction of the application fails.
pub(crate) fn failed_in_transaction(error: DbErr) -> Error {
    #[cfg(feature = "mock")]
    if let Some(refusal) = mock::refusal(&error) {
        return refusal;
    }
    Phase::Acquire.failed(error)
}
