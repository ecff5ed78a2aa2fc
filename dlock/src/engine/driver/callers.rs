//! Callers that wait for a reply, by their tickets.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use foldhash::fast::RandomState;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::grant::Grant;
use super::questions::Question;
use super::warnings::{LONG_WAIT, next_warning};
use crate::engine::machine::Ticket;
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// Why a request for a lock ended without it.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// One try was asked for, and another holder has the lock.
    Busy,
    /// The server ended the wait: it would have closed a cycle.
    Deadlock,
    Failed(Error),
}

impl Refusal {
    /// For the caller that asked for this lock. `None`: it is busy.
    pub(crate) fn tell<T>(self, name: &Key) -> Result<Option<T>, Error> {
        match self {
            Self::Busy => Ok(None),
            Self::Deadlock => Err(Error::Deadlock { key: name.clone() }),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Where the reply to a request for a lock goes.
pub(super) type GrantReply = oneshot::Sender<Result<Grant, Refusal>>;

/// A caller that asks for a lock.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) name: Key,
    pub(super) key: PhysicalKey,
    pub(super) mode: Mode,
    /// When its request began.
    pub(super) since: Instant,
    /// When the next warning of a long wait is due; `None`: the caller does its own logging.
    pub(super) next_warning: Option<Instant>,
}

/// Every caller that waits.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// By age: later callers have greater tickets.
    waiting: BTreeMap<Ticket, (Caller, GrantReply)>,
    confirms: HashMap<Ticket, oneshot::Sender<bool>, RandomState>,
    questions: HashMap<Ticket, Question, RandomState>,
}

impl Callers {
    pub(super) fn wait(&mut self, ticket: Ticket, caller: Caller, reply: GrantReply) {
        self.waiting.insert(ticket, (caller, reply));
    }

    pub(super) fn confirm(&mut self, ticket: Ticket, reply: oneshot::Sender<bool>) {
        self.confirms.insert(ticket, reply);
    }

    pub(super) fn ask(&mut self, ticket: Ticket, question: Question) {
        self.questions.insert(ticket, question);
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<(Caller, GrantReply)> {
        self.waiting.remove(&ticket)
    }

    pub(super) fn take_confirm(&mut self, ticket: Ticket) -> Option<oneshot::Sender<bool>> {
        self.confirms.remove(&ticket)
    }

    pub(super) fn take_question(&mut self, ticket: Ticket) -> Option<Question> {
        self.questions.remove(&ticket)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Caller> {
        self.waiting.values().map(|(caller, _)| caller)
    }

    /// Every caller's way to a reply is dropped.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Looks at a few callers after this one, the oldest first: calls `warn` with those whose warning
    /// of a long wait is due.
    pub(super) fn long_waits(
        &mut self,
        after: Option<Ticket>,
        now: Instant,
        mut warn: impl FnMut(&Caller),
    ) -> LongWaits {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut seen = LongWaits {
            go_on: None,
            next: now + LONG_WAIT,
        };
        let callers = self.waiting.range_mut((from, Bound::Unbounded));
        for (index, (ticket, (caller, _))) in callers.enumerate() {
            if index == AT_A_TIME {
                return seen;
            }
            seen.go_on = Some(*ticket);
            let Some(due) = caller.next_warning else {
                continue;
            };
            if due <= now {
                caller.next_warning = Some(next_warning(caller.since, now));
                warn(caller);
            }
            seen.next = seen.next.min(caller.next_warning.unwrap_or(due));
            if now < caller.since + LONG_WAIT {
                // Those behind it are younger.
                break;
            }
        }
        seen.go_on = None;
        seen
    }
}

/// What a look at some callers has shown.
pub(super) struct LongWaits {
    /// The last caller that was looked at, unless none is left to look at.
    pub(super) go_on: Option<Ticket>,
    /// When the next warning is due.
    pub(super) next: Instant,
}

/// So many callers are looked at without letting go of the mutex.
const AT_A_TIME: usize = 500;
