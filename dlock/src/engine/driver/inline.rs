//! Sessions without a server: tries, proofs and releases are carried out by the thread that causes
//! them, outside of the mutex.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use sea_orm::DbErr;

use super::Engine;
use crate::backend::{Answer, Hold, InlineSession, Request};
use crate::engine::machine::{Event, GrantId, Inline, SessionId, Ticket};
use crate::key::PhysicalKey;

/// A thread does at most this much for others, then the session's task goes on with it.
const MAX_RUNS: usize = 32;

/// The locks of inline sessions, by their grants.
#[derive(Debug, Default)]
pub(super) struct Handles {
    by_grant: HashMap<GrantId, Arc<Handle>, RandomState>,
    /// Locks that were taken away from their guards, until their session's task ends.
    abandoned: Vec<Arc<Handle>>,
}

/// The lock of one grant.
pub(super) struct Handle {
    session: SessionId,
    key: PhysicalKey,
    hold: Mutex<Option<Box<dyn Hold>>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle")
            .field(&self.key)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// Whether the lock is there. One that was closed meanwhile counts as there: its release tells.
    fn is_in_place(&self) -> bool {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        hold.as_ref()
            .is_none_or(|hold| hold.is_in_place().unwrap_or(false))
    }

    fn take(&self) -> Option<Box<dyn Hold>> {
        self.hold
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Whether the lock was there until now.
    fn close(&self) -> bool {
        let hold = self.take();
        hold.is_some_and(|hold| hold.is_in_place().unwrap_or(false))
    }
}

/// What a thread does for an inline session.
pub(super) struct Run {
    id: SessionId,
    work: Work,
}

enum Work {
    Try(Arc<dyn InlineSession>, GrantId, Request),
    Prove(GrantId, PhysicalKey, Option<Ticket>, Option<Arc<Handle>>),
    Release(PhysicalKey, Option<Ticket>, Option<Arc<Handle>>),
}

impl Run {
    pub(super) fn session(&self) -> SessionId {
        self.id
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(&self.id).finish_non_exhaustive()
    }
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
    pub(super) fn insert(
        &mut self,
        session: SessionId,
        grant: GrantId,
        key: PhysicalKey,
        hold: Box<dyn Hold>,
    ) {
        let handle = Handle {
            session,
            key,
            hold: Mutex::new(Some(hold)),
        };
        self.by_grant.insert(grant, Arc::new(handle));
    }

    /// A grant is lost. Its lock is to be dropped outside of the mutex.
    pub(super) fn lose(&mut self, grant: GrantId) -> Option<Box<dyn Hold>> {
        self.by_grant.remove(&grant)?.take()
    }

    /// All grants are about to be lost, and guards have a while to notice.
    pub(super) fn abandon(&mut self) {
        let handles = self.by_grant.drain().map(|(_, handle)| handle);
        self.abandoned.extend(handles);
    }

    fn take_abandoned(&mut self, session: SessionId) -> Vec<Arc<Handle>> {
        let mine = |handle: &mut Arc<Handle>| handle.session == session;
        self.abandoned.extract_if(.., mine).collect()
    }

    fn of_session(&self, session: SessionId) -> Vec<(GrantId, Arc<Handle>)> {
        let handles = self.by_grant.iter();
        let found = handles.filter(|(_, handle)| handle.session == session);
        found
            .map(|(grant, handle)| (*grant, Arc::clone(handle)))
            .collect()
    }
}

impl Engine {
    /// Does this, and what comes of it, as far as one thread does that much for others.
    pub(super) fn run(self: &Arc<Self>, runs: Vec<Run>) {
        let mut runs = VecDeque::from(runs);
        let mut left = MAX_RUNS;
        while let Some(Run { id, work }) = runs.pop_front() {
            let is_release = matches!(work, Work::Release(..));
            if left == 0 && !is_release {
                let deferred = Run { id, work };
                self.with(|shared, _, effects| shared.tasks.defer(deferred, effects));
                continue;
            }
            left = left.saturating_sub(1);
            let done = work.carry_out(id);
            runs.extend(self.with(|shared, now, effects| {
                shared.ran(done, now, effects);
                effects.take_runs()
            }));
        }
    }

    /// Goes on with what threads have left to this session's task.
    pub(super) fn run_deferred(self: &Arc<Self>, id: SessionId) {
        let runs = self.with(|shared, _, _| shared.tasks.take_deferred(id));
        if !runs.is_empty() {
            self.run(runs);
        }
    }

    /// The session ends, and with it the locks that its guards have lost.
    pub(super) fn drop_abandoned(self: &Arc<Self>, id: SessionId) {
        let handles = self.with(|shared, _, _| shared.handles.take_abandoned(id));
        drop(handles);
    }

    /// Looks whether the locks of this session are still there. Returns those that are not.
    pub(super) fn lost_handles(self: &Arc<Self>, id: SessionId) -> Vec<Event> {
        let handles = self.with(|shared, _, _| shared.handles.of_session(id));
        let gone = handles
            .into_iter()
            .filter(|(_, handle)| !handle.is_in_place());
        gone.map(|(grant, handle)| Event::GrantLost {
            grant,
            key: handle.key.clone(),
        })
        .collect()
    }
}

/// What came of a run.
pub(super) struct Ran {
    pub(super) event: Event,
    /// The lock that was taken.
    pub(super) taken: Option<(SessionId, GrantId, PhysicalKey, Box<dyn Hold>)>,
}

impl Work {
    fn carry_out(self, session: SessionId) -> Ran {
        let mut taken = None;
        let event = match self {
            Self::Try(inline, grant, request) => {
                let answer = match inline.try_lock(&request) {
                    Ok(Some(hold)) => {
                        taken = Some((session, grant, request.key.clone(), hold));
                        Answer::Yes
                    }
                    Ok(None) => Answer::No,
                    Err(error) => Answer::Failed(error),
                };
                Event::Tried {
                    session,
                    grant,
                    request,
                    answer,
                }
            }
            Self::Prove(grant, key, confirm, handle) => Event::Proved {
                grant,
                key,
                confirm,
                is_held: handle.is_some_and(|handle| handle.is_in_place()),
            },
            Self::Release(key, confirm, handle) => {
                let was_held = handle.is_some_and(|handle| handle.close());
                if !was_held {
                    tracing::warn!(%key, "dlock: lock lost");
                }
                Event::Returned {
                    session,
                    key,
                    confirm,
                    was_held,
                }
            }
        };
        Ran { event, taken }
    }
}

/// The answer to a wait of an inline session.
pub(super) fn answer(taken: Result<bool, DbErr>) -> Answer {
    taken.map_or_else(Answer::Failed, Answer::from)
}
