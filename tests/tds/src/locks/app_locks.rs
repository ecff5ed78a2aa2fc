//! The handler that has the application locks.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Entry, Procedures, Status, view};
use crate::{Answer, Part, Reply, Request, Server, Session, SessionId, tsql};

type First = dyn Fn(&Request) -> Option<Reply> + Send + Sync;
type Last = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

/// Behaves like the application locks of SQL Server, their owner being the session, and understands as much T-SQL as is
/// needed to use and to watch them; anything else is error 102.
///
/// Unlike in SQL Server
/// * the victim of a deadlock is always who closed the circle, and it is found at once;
/// * there are no transactions, so the owner `Transaction` is an invalid call;
/// * the modes `IntentShared` and `IntentExclusive` are an invalid call;
/// * the principal of a lock is always `public`;
/// * names of procedures, parameters and variables are never case-sensitive.
#[derive(Default)]
pub struct AppLocks {
    procedures: Procedures,
    is_read_only: AtomicBool,
    is_view_denied: AtomicBool,
    first: Mutex<Option<Arc<First>>>,
    last: Mutex<Option<Arc<Last>>>,
}

impl fmt::Debug for AppLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppLocks")
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

impl AppLocks {
    /// Without any lock.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who holds a lock or waits for one, by database and name; of one lock the holders first, then the line.
    pub fn entries(&self) -> Vec<Entry> {
        self.procedures.entries()
    }

    /// Who holds the lock of that name, and has not asked for a stronger mode.
    pub fn holders(&self, name: &str) -> Vec<Entry> {
        self.entries()
            .into_iter()
            .filter(|entry| entry.name == name && entry.status == Status::Granted)
            .collect()
    }

    /// Who waits for the lock of that name, in the order of the line.
    pub fn waiters(&self, name: &str) -> Vec<Entry> {
        self.entries()
            .into_iter()
            .filter(|entry| entry.name == name && entry.status != Status::Granted)
            .collect()
    }

    /// Until the entries are like this.
    pub async fn until(&self, like: impl FnMut(&[Entry]) -> bool) {
        self.procedures.until(like).await;
    }

    /// Until that many wait for the lock of that name.
    pub async fn until_waiting(&self, name: &str, count: usize) {
        self.until(|entries| {
            entries
                .iter()
                .filter(|entry| entry.name == name && entry.status != Status::Granted)
                .count()
                == count
        })
        .await;
    }

    /// Is asked before a request is looked at. What it replies is the answer, and the request is not carried out.
    pub fn answer_first(&self, hook: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// Is shown the reply to a request that was carried out, and says what to reply in its place: so an answer is lost
    /// whose lock is granted.
    pub fn answer_last(&self, hook: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// Without hooks again.
    pub fn answer_plainly(&self) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What `DATABASEPROPERTYEX(.., 'Updateability')` says of every database: `READ_WRITE` until this is called.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.is_read_only.store(is_read_only, Ordering::SeqCst);
    }

    /// Whether `sys.dm_tran_locks` fails with error 300.
    pub fn deny_view_server_state(&self, is_denied: bool) {
        self.is_view_denied.store(is_denied, Ordering::SeqCst);
    }

    pub(crate) fn procedures(&self) -> &Procedures {
        &self.procedures
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.is_read_only.load(Ordering::SeqCst)
    }

    async fn carry_out(&self, session: &Session, request: &Request) -> Reply {
        if request
            .sql
            .to_ascii_lowercase()
            .contains("sys.dm_tran_locks")
        {
            return self.dm_tran_locks(session).into();
        }
        match tsql::parse(&request.sql, request.parameters.len()) {
            Ok(statements) => {
                Reply::Parts(tsql::run(self, session, &request.parameters, &statements).await)
            }
            Err(error) => error.into(),
        }
    }

    fn dm_tran_locks(&self, session: &Session) -> Part {
        if self.is_view_denied.load(Ordering::SeqCst) {
            Part::Error(view::not_permitted())
        } else {
            Part::Rows(view::dm_tran_locks(self.entries(), &session.sessions))
        }
    }
}

impl Answer for AppLocks {
    async fn answer(&self, session: &Session, request: Request) -> Reply {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(reply) = first.and_then(|first| first(&request)) {
            return reply;
        }
        let reply = self.carry_out(session, &request).await;
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match last {
            Some(last) => last(&request, reply),
            None => reply,
        }
    }

    fn ended(&self, session: SessionId) {
        self.procedures.end(session);
    }
}

impl Server<AppLocks> {
    /// What its sessions have locked.
    pub fn locks(&self) -> &AppLocks {
        self.handler()
    }
}
