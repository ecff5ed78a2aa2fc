//! A session whose connection its holder works on: both go through a pool of sqlx that has this one
//! connection and can never have another.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sea_orm::DatabaseConnection;
use sea_orm::sqlx::pool::{PoolConnection, PoolOptions};
use sea_orm::sqlx::{self, Connection, Database, Pool};
use tokio::time::timeout;

use super::open::session_error;
use super::pool::{Options, SqlxDatabase};
use crate::backend::pinned::PinnedSession;
use crate::backend::session::Session;
use crate::backend::session_error::SessionError;

/// No server listens there, and no platform looks for long: a path below what is not a folder.
pub(crate) const NOWHERE: &str = "/dev/null/a-pinned-session-is-never-opened-again";

/// A session whose connection comes and goes.
pub(crate) trait PinnableSession<DB: SqlxDatabase>: Session {
    /// Where the connection is while it is here.
    fn slot(&mut self) -> &mut Slot<DB>;
}

/// The place of a connection that comes and goes.
pub(crate) struct Slot<DB: SqlxDatabase>(Option<PoolConnection<DB>>);

impl<DB: SqlxDatabase> Slot<DB> {
    pub(crate) fn of(connection: PoolConnection<DB>) -> Self {
        Self(Some(connection))
    }

    pub(crate) fn connection(&mut self) -> &mut DB::Connection {
        self.0.as_mut().expect("BUG: it is lent")
    }

    /// Dropped in a task that is being dropped with its runtime, it must not look for a runtime.
    fn cut(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }

    pub(crate) async fn close(mut self) -> Result<(), sqlx::Error> {
        match self.0.take() {
            Some(connection) => connection.detach().close().await,
            None => Ok(()),
        }
    }
}

impl<DB: SqlxDatabase> Drop for Slot<DB> {
    fn drop(&mut self) {
        self.cut();
    }
}

/// When the only connection of a pool set out on its way back to it, if it may still be on its way.
///
/// sqlx pings a connection that comes back, without a limit, and runs no hook after that. The time
/// therefore stays until the connection is taken out again.
#[derive(Clone, Default)]
pub(crate) struct Returns(Arc<Mutex<Option<Instant>>>);

impl Returns {
    /// Sets two hooks of the pool. `Pool::try_acquire` runs neither of them: its caller clears the
    /// time itself.
    pub(crate) fn watch<DB: Database>(&self, pool: PoolOptions<DB>) -> PoolOptions<DB> {
        let (begun, ended) = (self.clone(), self.clone());
        pool.after_release(move |_, _| {
            begun.set(Some(Instant::now()));
            Box::pin(async { Ok(true) })
        })
        .before_acquire(move |_, _| {
            ended.set(None);
            Box::pin(async { Ok(true) })
        })
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

pub(crate) struct SharedSession<DB: SqlxDatabase, S: PinnableSession<DB>> {
    pool: Pool<DB>,
    session: S,
    returns: Returns,
}

impl<DB: SqlxDatabase, S: PinnableSession<DB>> SharedSession<DB, S> {
    /// The session is on the only connection of the pool, which is never opened again behind its
    /// back. The pool was opened with the hooks of `returns`.
    pub(crate) fn new(pool: Pool<DB>, session: S, returns: Returns, nowhere: Options<DB>) -> Self {
        pool.set_connect_options(nowhere);
        Self {
            pool,
            session,
            returns,
        }
    }
}

#[async_trait]
impl<DB: SqlxDatabase, S: PinnableSession<DB>> PinnedSession for SharedSession<DB, S> {
    fn connection(&self) -> DatabaseConnection {
        DB::orm(self.pool.clone())
    }

    fn number(&self) -> i64 {
        self.session.number()
    }

    fn take(&mut self) -> Result<Option<&mut dyn Session>, SessionError> {
        let Self {
            pool,
            session,
            returns,
        } = self;
        let slot = session.slot();
        if slot.0.is_none() {
            slot.0 = pool.try_acquire();
            if slot.0.is_some() {
                returns.set(None);
            }
        }
        match slot.0 {
            Some(_) => Ok(Some(session)),
            None if pool.is_closed() || pool.size() == 0 => {
                Err(SessionError::ended("the pinned connection was closed"))
            }
            None => Ok(None),
        }
    }

    async fn taken(&mut self) -> Result<&mut dyn Session, SessionError> {
        let Self { pool, session, .. } = self;
        while session.slot().0.is_none() {
            session.slot().0 = match pool.acquire().await {
                Ok(connection) => Some(connection),
                // As long as the application waits for its connections, and no longer.
                Err(sqlx::Error::PoolTimedOut) => None,
                Err(error) => return Err(session_error(error)),
            };
        }
        Ok(session)
    }

    fn returning_since(&self) -> Option<Instant> {
        self.returns.since()
    }

    /// sqlx looks at the connection once more before anybody gets it.
    fn lend(&mut self) {
        drop(self.session.slot().0.take());
    }

    async fn close(mut self: Box<Self>) {
        drop(self.take());
        let connection = std::mem::replace(self.session.slot(), Slot(None));
        drop(timeout(Duration::from_secs(1), connection.close()).await);
        // A connection that is at work is closed when it comes back.
        drop(self.pool.close());
    }
}

/// Also with its runtime: a connection that is not at work ends here and now, however long a
/// handle to the pool lives.
impl<DB: SqlxDatabase, S: PinnableSession<DB>> Drop for SharedSession<DB, S> {
    fn drop(&mut self) {
        self.session.slot().cut();
        if let Some(idle) = self.pool.try_acquire() {
            drop(idle.detach());
        }
        let is_over = self.pool.is_closed();
        drop(self.pool.close());
        if self.pool.size() > 0 && !is_over {
            end_what_comes_back(self.pool.clone());
        }
    }
}

/// A connection that was on its way back when the pool was closed arrives all the same, and is
/// never taken out any more. There may be no runtime to do it on.
fn end_what_comes_back<DB: Database>(pool: Pool<DB>) {
    let wait_for_it = move || {
        let deadline = Instant::now() + ON_ITS_WAY;
        while pool.size() > 0 && Instant::now() < deadline {
            sleep(PAUSE);
            let mut context = Context::from_waker(Waker::noop());
            let _ = pin!(pool.close()).poll(&mut context);
        }
    };
    // Without a thread it ends with the last handle.
    drop(thread::Builder::new().spawn(wait_for_it));
}

const ON_ITS_WAY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);
