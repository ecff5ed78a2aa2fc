//! The locks of inline sessions.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::grant::SessionCell;
use super::run::{Handle, Run, Taken, Work};
use crate::backend::{Hold, InlineSession};
use crate::engine::machine::{GrantId, Inline, SessionId};

/// The locks of inline sessions, by their grants.
#[derive(Debug, Default)]
pub(super) struct Handles {
    by_grant: HashMap<GrantId, Arc<Handle>, RandomState>,
    /// Locks that were taken away from their guards, until their session's task ends.
    abandoned: Vec<Arc<Handle>>,
}

impl Handles {
    /// What the thread that has this command does. The handle of a lock that is given back goes
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
    pub(super) fn insert(&mut self, taken: Taken, cell: Arc<SessionCell>) {
        let grant = taken.grant;
        let handle = Handle::new(taken, cell);
        self.by_grant.insert(grant, Arc::new(handle));
    }

    /// What the guards of this grant learn of its loss by.
    pub(super) fn cell(&self, grant: GrantId) -> Option<&Arc<SessionCell>> {
        Some(&self.by_grant.get(&grant)?.cell)
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &Arc<SessionCell>> {
        self.by_grant.values().map(|handle| &handle.cell)
    }

    /// A grant is lost. Its lock is to be dropped outside of the mutex.
    pub(super) fn lose(
        &mut self,
        grant: GrantId,
    ) -> Option<(Arc<SessionCell>, Option<Box<dyn Hold>>)> {
        let handle = self.by_grant.remove(&grant)?;
        Some((Arc::clone(&handle.cell), handle.take()))
    }

    /// All grants are about to be lost. Their locks stay until their session ends, so that guards
    /// have a while to notice.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = &Arc<SessionCell>> {
        let handles = self.by_grant.drain().map(|(_, handle)| handle);
        self.abandoned.extend(handles);
        self.abandoned.iter().map(|handle| &handle.cell)
    }

    /// All locks, to be dropped outside of the mutex.
    pub(super) fn take_all(&mut self) -> Vec<Box<dyn Hold>> {
        let handles = self.by_grant.drain().map(|(_, handle)| handle);
        let handles = handles.chain(self.abandoned.drain(..));
        handles.filter_map(|handle| handle.take()).collect()
    }

    pub(super) fn take_abandoned(&mut self, session: SessionId) -> Vec<Arc<Handle>> {
        let mine = |handle: &mut Arc<Handle>| handle.session == session;
        self.abandoned.extract_if(.., mine).collect()
    }

    pub(super) fn of_session(&self, session: SessionId) -> Vec<(GrantId, Arc<Handle>)> {
        let handles = self.by_grant.iter();
        let found = handles.filter(|(_, handle)| handle.session == session);
        found
            .map(|(grant, handle)| (*grant, Arc::clone(handle)))
            .collect()
    }
}
