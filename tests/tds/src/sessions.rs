//! The sessions of a server, for who looks at them or ends them from outside.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{oneshot, watch};

use crate::{Close, Login, ServerError, Session, SessionId};

/// SQL Server keeps the numbers below for itself.
const FIRST: i16 = 51;

/// The open sessions of a server.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    open: Mutex<Open>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Open {
    opened: i16,
    sessions: BTreeMap<SessionId, Place>,
}

struct Place {
    session: Arc<Session>,
    cut: Option<oneshot::Sender<Cut>>,
}

/// How a session is ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Sent first, whether or not a request awaits an answer.
    pub error: Option<ServerError>,
    /// And then this.
    pub close: Close,
}

impl From<Close> for Cut {
    fn from(close: Close) -> Self {
        Self { error: None, close }
    }
}

/// Their numbers: a session has the sessions in it.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.open().sessions.keys()).finish()
    }
}

impl Sessions {
    /// All, in the order of their numbers.
    pub fn list(&self) -> Vec<Arc<Session>> {
        self.open()
            .sessions
            .values()
            .map(|place| place.session.clone())
            .collect()
    }

    /// Whether it is open.
    pub fn contains(&self, id: SessionId) -> bool {
        self.open().sessions.contains_key(&id)
    }

    /// Ends it. `false` if it is over or about to be.
    pub fn cut(&self, id: SessionId, cut: impl Into<Cut>) -> bool {
        let sender = self
            .open()
            .sessions
            .get_mut(&id)
            .and_then(|place| place.cut.take());
        sender.is_some_and(|sender| sender.send(cut.into()).is_ok())
    }

    /// Ends it as KILL does: with error 596, and FIN.
    pub fn kill(&self, id: SessionId) -> bool {
        self.cut(
            id,
            Cut {
                error: Some(ServerError::killed()),
                close: Close::Fin,
            },
        )
    }

    /// Until it is over: what it held is free, and its socket closed.
    pub async fn ended(&self, id: SessionId) {
        self.until(|sessions| sessions.iter().all(|session| session.id != id))
            .await;
    }

    /// Until the open sessions are like this.
    pub async fn until(&self, mut like: impl FnMut(&[Arc<Session>]) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !like(&self.list()) {
            changed.changed().await.expect("BUG: the sender is in self");
        }
    }

    pub(crate) fn enter(
        &self,
        login: Login,
        encrypted: bool,
    ) -> (Arc<Session>, oneshot::Receiver<Cut>) {
        let (cut, receiver) = oneshot::channel();
        let mut open = self.open();
        let id = SessionId(FIRST + open.opened);
        open.opened += 1;
        let session = Arc::new(Session {
            id,
            login,
            encrypted,
            sessions: self.clone(),
        });
        open.sessions.insert(
            id,
            Place {
                session: session.clone(),
                cut: Some(cut),
            },
        );
        drop(open);
        self.0.changed.send_replace(());
        (session, receiver)
    }

    pub(crate) fn leave(&self, id: SessionId) {
        self.open().sessions.remove(&id);
        self.0.changed.send_replace(());
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
