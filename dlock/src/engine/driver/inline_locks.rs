//! The locks of inline sessions.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::grant::Loss;
use super::run::{InlineLock, Run, Taken, Work};
use crate::backend::InlineSession;
use crate::engine::machine::{GrantId, Inline, SessionId};

/// The locks of inline sessions, by their grants.
#[derive(Debug, Default)]
pub(super) struct InlineLocks {
    by_grant: HashMap<GrantId, Arc<InlineLock>, RandomState>,
    /// Locks that were taken away from their guards, until their session's task ends.
    abandoned: Vec<Arc<InlineLock>>,
}

impl InlineLocks {
    /// What the thread that has this command does. A lock that is given back goes
    /// with it: dropped undone, it is given back as well.
    pub(super) fn run(
        &mut self,
        id: SessionId,
        session: Option<&Arc<dyn InlineSession>>,
        command: Inline,
    ) -> Option<Run> {
        let work = match command {
            Inline::Try { grant, request } => Work::Try(Arc::clone(session?), grant, request),
            Inline::Prove {
                grant,
                key,
                confirm,
            } => Work::Prove(grant, key, confirm, self.by_grant.get(&grant).cloned()),
            Inline::Release {
                grant,
                key,
                confirm,
            } => Work::Release(key, confirm, self.by_grant.remove(&grant)),
        };
        Some(Run { id, work })
    }

    /// A lock was taken.
    pub(super) fn insert(&mut self, taken: Taken) {
        let grant = taken.grant;
        self.by_grant
            .insert(grant, Arc::new(InlineLock::new(taken)));
    }

    /// The lock of this grant.
    pub(super) fn get(&self, grant: GrantId) -> Option<&Arc<InlineLock>> {
        self.by_grant.get(&grant)
    }

    /// A grant is lost. Its lock is to be closed outside of the mutex.
    pub(super) fn lose(&mut self, grant: GrantId) -> Option<Arc<InlineLock>> {
        self.by_grant.remove(&grant)
    }

    /// All grants are about to be lost. Their locks stay until their session ends, so that guards
    /// have a while to notice.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = &Arc<Loss>> {
        let locks = self.by_grant.drain().map(|(_, lock)| lock);
        self.abandoned.extend(locks);
        self.abandoned.iter().map(|lock| &lock.loss)
    }

    /// All locks, to be closed outside of the mutex.
    pub(super) fn take_all(&mut self) -> Vec<Arc<InlineLock>> {
        let locks = self.by_grant.drain().map(|(_, lock)| lock);
        locks.chain(self.abandoned.drain(..)).collect()
    }

    pub(super) fn take_abandoned(&mut self, session: SessionId) -> Vec<Arc<InlineLock>> {
        let mine = |lock: &mut Arc<InlineLock>| lock.session == session;
        self.abandoned.extract_if(.., mine).collect()
    }

    pub(super) fn of_session(&self, session: SessionId) -> Vec<(GrantId, Arc<InlineLock>)> {
        let locks = self.by_grant.iter();
        let found = locks.filter(|(_, lock)| lock.session == session);
        found
            .map(|(grant, lock)| (*grant, Arc::clone(lock)))
            .collect()
    }
}
