//! Callers that wait for a reply, by the slots of their tickets.

use std::ops::Range;

use slab::Slab;
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
    Failed(Box<Error>),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Refusal {
    /// For the caller that asked for this lock. `None`: it is busy.
    pub(crate) fn tell<T>(self, name: &Key) -> Result<Option<T>, Error> {
        match self {
            Self::Busy => Ok(None),
            Self::Deadlock => Err(Error::Deadlock { key: name.clone() }),
            Self::Failed(error) => Err(*error),
        }
    }
}

/// Where the reply to a request for a lock goes.
pub(super) type GrantReply = oneshot::Sender<Result<Grant, Refusal>>;

/// A request for a lock, as far as the machine does not know it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) key: PhysicalKey,
    pub(super) mode: Mode,
    /// When the request began.
    pub(super) since: Instant,
    /// When the next warning of a long wait is due; `None`: the caller does its own logging.
    pub(super) next_warning: Option<Instant>,
}

/// A caller, and where its reply goes.
#[derive(Debug)]
pub(super) enum Caller {
    /// Its request is being handled: a reply that comes at once needs no channel.
    Asking,
    Lock(Request, GrantReply),
    Release(oneshot::Sender<bool>),
    Question(Question),
}

/// Every caller that waits.
#[derive(Debug, Default)]
pub(super) struct Callers {
    slots: Slab<(Ticket, Caller)>,
}

/// So many callers are looked at without letting go of the mutex.
const AT_A_TIME: usize = 500;

impl Callers {
    /// A caller comes: `draw` makes its ticket, with this slot.
    pub(super) fn begin(&mut self, draw: impl FnOnce(usize) -> Ticket) -> Ticket {
        let slot = self.slots.vacant_entry();
        let ticket = draw(slot.key());
        slot.insert((ticket, Caller::Asking));
        ticket
    }

    /// It waits.
    pub(super) fn wait(&mut self, ticket: Ticket, caller: Caller) {
        self.slots[ticket.slot()] = (ticket, caller);
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Caller> {
        let (found, _) = self.slots.get(ticket.slot())?;
        let is_it = *found == ticket;
        is_it.then(|| self.slots.remove(ticket.slot()).1)
    }

    /// All of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Caller> {
        self.slots.drain().map(|(_, caller)| caller)
    }

    /// Looks at a few callers, from this slot on: calls `warn` with those whose warning of a long
    /// wait is due.
    pub(super) fn long_waits(
        &mut self,
        from: usize,
        now: Instant,
        mut warn: impl FnMut(&Request),
    ) -> LongWaits {
        let Range { start, end } = from..self.slots.capacity().min(from + AT_A_TIME);
        let mut next = now + LONG_WAIT;
        for slot in start..end {
            if let Some((_, Caller::Lock(request, _))) = self.slots.get_mut(slot)
                && let Some(due) = request.next_warning
            {
                let due = match due <= now {
                    true => {
                        warn(request);
                        next_warning(request.since, now)
                    }
                    false => due,
                };
                request.next_warning = Some(due);
                next = next.min(due);
            }
        }
        let go_on = (end < self.slots.capacity()).then_some(end);
        LongWaits { go_on, next }
    }
}

/// What a look at some callers has shown.
pub(super) struct LongWaits {
    /// The first slot that was not looked at.
    pub(super) go_on: Option<usize>,
    /// When the next warning is due.
    pub(super) next: Instant,
}
