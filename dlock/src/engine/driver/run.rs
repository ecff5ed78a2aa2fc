//! What threads do for inline sessions.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::grant::Loss;
use sea_orm::DbErr;

use crate::backend::{Answer, Hold, InlineSession, Request};
use crate::engine::machine::{Event, GrantId, SessionId, Ticket};
use crate::key::PhysicalKey;

/// The lock of one grant.
pub(super) struct InlineLock {
    pub(super) session: SessionId,
    pub(super) key: PhysicalKey,
    pub(super) loss: Arc<Loss>,
    hold: Mutex<Option<Box<dyn Hold>>>,
}

impl fmt::Debug for InlineLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InlineLock")
            .field(&self.key)
            .finish_non_exhaustive()
    }
}

impl InlineLock {
    pub(super) fn new(taken: Taken) -> Self {
        let Taken {
            session, key, hold, ..
        } = taken;
        let hold = Mutex::new(Some(hold));
        Self {
            session,
            key,
            loss: Arc::default(),
            hold,
        }
    }

    /// Whether the lock is there. One that was closed meanwhile counts as there: its release tells.
    pub(super) fn is_in_place(&self) -> bool {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        hold.as_ref()
            .is_none_or(|hold| hold.is_in_place().unwrap_or(false))
    }

    /// Gives the lock back. Returns whether it was there until now.
    fn release(&self) -> bool {
        let hold = self.take();
        hold.is_some_and(|hold| hold.is_in_place().unwrap_or(false))
    }

    pub(super) fn close(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Box<dyn Hold>> {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        hold.take()
    }
}

/// What a thread does for an inline session.
pub(super) struct Run {
    pub(super) id: SessionId,
    pub(super) work: Work,
}

pub(super) enum Work {
    Try(Arc<dyn InlineSession>, GrantId, Request),
    Prove(
        GrantId,
        PhysicalKey,
        Option<Ticket>,
        Option<Arc<InlineLock>>,
    ),
    Release(PhysicalKey, Option<Ticket>, Option<Arc<InlineLock>>),
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(&self.id).finish_non_exhaustive()
    }
}

/// What came of a run.
pub(super) struct Ran {
    pub(super) event: Event,
    pub(super) taken: Option<Taken>,
}

/// A lock that was taken.
pub(super) struct Taken {
    pub(super) session: SessionId,
    pub(super) grant: GrantId,
    pub(super) key: PhysicalKey,
    pub(super) hold: Box<dyn Hold>,
}

impl Work {
    pub(super) fn carry_out(self, session: SessionId) -> Ran {
        let mut taken = None;
        let event = match self {
            Self::Try(inline, grant, request) => {
                let tried = caught(|| inline.try_lock(&request));
                let answer = match tried.unwrap_or_else(|| Err(DbErr::Custom(PANICKED.to_owned())))
                {
                    Ok(Some(hold)) => {
                        let key = request.key.clone();
                        taken = Some(Taken {
                            session,
                            grant,
                            key,
                            hold,
                        });
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
            Self::Prove(grant, key, confirm, lock) => Event::Proved {
                grant,
                key,
                confirm,
                is_held: lock.is_some_and(|lock| caught(|| lock.is_in_place()).unwrap_or(false)),
            },
            Self::Release(key, confirm, lock) => {
                let was_held = lock.is_some_and(|lock| caught(|| lock.release()).unwrap_or(false));
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

const PANICKED: &str = "BUG: a try for the lock panicked";

/// `None`: it panicked. The machine waits for an answer all the same.
fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}
