//! `sp_getapplock` and the others, on behalf of a session.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::{
    Entry, Mode, Resource,
    table::{Asked, Table},
};
use crate::SessionId;

/// What `sp_getapplock` returns.
mod code {
    pub(super) const AT_ONCE: i32 = 0;
    pub(super) const AFTER_WAITING: i32 = 1;
    pub(super) const TIMEOUT: i32 = -1;
    pub(super) const DEADLOCK: i32 = -3;
}

/// The locks, and who is told when they change.
#[derive(Debug, Default)]
pub(crate) struct Procedures {
    table: Mutex<Table>,
    changed: watch::Sender<()>,
}

impl Procedures {
    /// `sp_getapplock`; without a limit it waits for ever. What it returns is what the procedure does.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the session waits no more. What had been granted by then stays its own, as in SQL Server, where the lock
    /// outlives the batch.
    pub(crate) async fn get(
        &self,
        session: SessionId,
        resource: &Resource,
        mode: Mode,
        limit: Option<Duration>,
    ) -> i32 {
        let asked =
            self.change(|table| table.ask(session, resource, mode, limit != Some(Duration::ZERO)));
        match asked {
            Asked::Granted => code::AT_ONCE,
            Asked::Refused => code::TIMEOUT,
            Asked::Victim => code::DEADLOCK,
            Asked::Waiting(granted) => {
                Place {
                    procedures: self,
                    session,
                    resource,
                }
                .wait(granted, limit)
                .await
            }
        }
    }

    /// `sp_releaseapplock`; `false` if the session does not hold it.
    pub(crate) fn release(&self, session: SessionId, resource: &Resource) -> bool {
        self.change(|table| table.release(session, resource))
    }

    /// `APPLOCK_MODE`
    pub(crate) fn mode(&self, session: SessionId, resource: &Resource) -> Option<Mode> {
        self.table().mode(session, resource)
    }

    /// `APPLOCK_TEST`
    pub(crate) fn test(&self, session: SessionId, resource: &Resource, mode: Mode) -> bool {
        self.table().test(session, resource, mode)
    }

    pub(super) fn end(&self, session: SessionId) {
        self.change(|table| table.end(session));
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.table().entries()
    }

    pub(super) async fn until(&self, mut like: impl FnMut(&[Entry]) -> bool) {
        let mut changed = self.changed.subscribe();
        while !like(&self.entries()) {
            changed.changed().await.expect("BUG: the sender is in self");
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let result = change(&mut self.table());
        self.changed.send_replace(());
        result
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line for a lock. Dropping it leaves the line.
struct Place<'a> {
    procedures: &'a Procedures,
    session: SessionId,
    resource: &'a Resource,
}

impl Place<'_> {
    async fn wait(self, granted: oneshot::Receiver<()>, limit: Option<Duration>) -> i32 {
        let in_time = match limit {
            Some(limit) => timeout(limit, granted).await.is_ok(),
            None => granted.await.is_ok(),
        };
        // The lock can have been granted while the time ran out: then it is held.
        if in_time || !self.leave() {
            code::AFTER_WAITING
        } else {
            code::TIMEOUT
        }
    }

    fn leave(&self) -> bool {
        self.procedures
            .change(|table| table.withdraw(self.session, self.resource))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
