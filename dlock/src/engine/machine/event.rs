//! What goes into the machine and what comes out of it. Plain data.

use std::sync::Arc;
use std::time::Duration;

pub(super) use crate::backend::{Answer, Answers, Batch, Request};
pub(super) use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::server_lock::Holder;

/// Since the machine began.
pub(crate) type Time = Duration;

/// A caller that waits for a [`Reply`]. Later callers have greater tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket {
    number: u64,
    /// Where the driver has the caller's channel. A slot is used again; a ticket is not.
    slot: usize,
}

impl Ticket {
    pub(super) fn new(number: u64, slot: usize) -> Self {
        Self { number, slot }
    }

    /// Not less than all tickets up to this number.
    pub(super) fn last(number: u64) -> Self {
        Self::new(number, usize::MAX)
    }

    pub(crate) fn slot(self) -> usize {
        self.slot
    }
}

/// A lock that the server has granted to the pool. Readers of one pool share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GrantId(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(super) u64);

/// A request for a lock.
#[derive(Debug, Clone)]
pub(crate) struct Acquire {
    pub(crate) ticket: Ticket,
    pub(crate) key: PhysicalKey,
    /// What the caller calls the key.
    pub(crate) name: Key,
    pub(crate) mode: Mode,
    /// When the caller gives up, which it does by itself. The machine plans waits by it.
    pub(crate) deadline: Option<Time>,
    /// The caller prefers [`Reply::Busy`] to waiting.
    pub(crate) one_try: bool,
}

/// What a session can do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traits {
    /// It can block on the server until a lock is free.
    pub(crate) can_wait: bool,
    /// While it holds locks, it is pinged this often.
    pub(crate) heartbeat: Option<Duration>,
    /// It can report who holds a lock.
    pub(crate) tells_holders: bool,
    /// No server is in between: tries and releases are carried out at once, by any thread
    /// ([`Command::Run`]). Each grant is a handle of its own.
    pub(crate) is_inline: bool,
}

#[derive(Debug)]
pub(crate) enum Event {
    Acquire(Acquire),
    /// The caller has stopped waiting. Does nothing once the ticket was replied to.
    Cancel {
        ticket: Ticket,
        key: PhysicalKey,
    },
    /// The caller of [`Meet`](Self::Meet) or [`Inspect`](Self::Inspect) has stopped waiting.
    Leave(Ticket),
    /// One guard of a grant is gone. `confirm` gets [`Reply::Released`].
    Release {
        grant: GrantId,
        key: PhysicalKey,
        confirm: Option<Ticket>,
    },
    /// Wants [`Reply::Met`] as soon as any session is open.
    Meet(Ticket),
    /// Has a question about the server's locks, which the driver answers from [`Job::Inspect`].
    Inspect(Ticket),
    SessionUp {
        session: SessionId,
        traits: Traits,
    },
    OpenFailed {
        session: SessionId,
        error: Error,
    },
    /// The answers to the last [`Job::Exchange`].
    Answered {
        session: SessionId,
        answers: Answers,
    },
    /// The answer to the last [`Job::Wait`]; `None`: it was [stopped](Command::StopWait).
    WaitEnded {
        session: SessionId,
        grant: GrantId,
        answer: Option<Answer>,
    },
    /// The answer to [`Inline::Try`].
    Tried {
        session: SessionId,
        grant: GrantId,
        request: Request,
        answer: Answer,
    },
    /// The answer to [`Inline::Prove`].
    Proved {
        grant: GrantId,
        key: PhysicalKey,
        confirm: Option<Ticket>,
        is_held: bool,
    },
    /// The answer to [`Inline::Release`].
    Returned {
        session: SessionId,
        key: PhysicalKey,
        confirm: Option<Ticket>,
        was_held: bool,
    },
    /// One lock is gone, and its session lives.
    GrantLost {
        grant: GrantId,
        key: PhysicalKey,
    },
    Pinged(SessionId),
    Inspected(SessionId),
    BlockerFound {
        key: PhysicalKey,
        holder: Option<Holder>,
    },
    /// The session has ended, and its locks with it.
    SessionLost {
        session: SessionId,
        error: Error,
    },
    /// A new session was on another server: all sessions have to prove that theirs still answers.
    Disputed,
    /// An answer came from another server session: no answer of the pool counts any more. `None`: a
    /// session that the machine does not know has met it.
    Refused {
        session: Option<SessionId>,
        error: Error,
    },
    /// All tasks of the pool were dropped with their runtime.
    RuntimeEnded,
    /// The time of [`next_timer`](super::Machine::next_timer) has come.
    Tick,
    Close,
    Abandon,
}

/// The time of an event, and the commands that come of it.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(super) now: Time,
    commands: &'a mut Vec<Command>,
}

impl<'a> Step<'a> {
    pub(super) fn new(now: Time, commands: &'a mut Vec<Command>) -> Self {
        Self { now, commands }
    }

    pub(super) fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    pub(super) fn extend(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.commands.extend(commands);
    }

    pub(super) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.push(Command::Reply(ticket, reply));
    }
}

#[derive(Debug)]
pub(crate) enum Command {
    /// A task is to be started that opens this session.
    Open(SessionId),
    /// The session's task is to call [`next`](super::Machine::next) if it is idle.
    Wake(SessionId),
    /// No caller waits any more for what this session waits for. A wait that cannot be stopped may
    /// go on.
    StopWait(SessionId),
    /// The thread that has this command does it, before anything else.
    Run(SessionId, Inline),
    Reply(Ticket, Reply),
    /// The guards of this grant report its loss, and an inline session closes its handle. All
    /// grants of another session are lost together.
    Lose(Lost),
    /// The session is forgotten: its task ends it, after all guards have been told.
    /// An error: its last answer makes all its locks doubtful.
    CloseSession(SessionId, Option<Box<Error>>),
}

/// A grant that is lost.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) grant: GrantId,
    pub(crate) session: SessionId,
    pub(crate) guards: u64,
    /// What its key is called; `None`: no caller has it.
    pub(crate) name: Option<Key>,
}

impl Lost {
    /// A lock that came after its session had ended.
    pub(super) fn unknown(grant: GrantId, session: SessionId) -> Self {
        let (guards, name) = (0, None);
        Self {
            grant,
            session,
            guards,
            name,
        }
    }
}

/// What an inline session does.
#[derive(Debug)]
pub(crate) enum Inline {
    /// A lock that is taken is known as this grant.
    Try { grant: GrantId, request: Request },
    /// Looks whether the lock is still held, before its next holder gets it.
    Prove {
        grant: GrantId,
        key: PhysicalKey,
        confirm: Option<Ticket>,
    },
    Release {
        grant: GrantId,
        key: PhysicalKey,
        confirm: Option<Ticket>,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Granted {
        grant: GrantId,
        session: SessionId,
    },
    /// Only to requests for [`one_try`](Acquire::one_try).
    Busy,
    Deadlock,
    /// Replies are moved often, and seldom are errors.
    Failed(Box<Error>),
    /// Whether the lock was held until now.
    Released(bool),
    Met,
    /// The pool's runtime has ended: ask again.
    Restart,
}

/// A question about the server's locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inspection {
    /// A caller's question. The driver knows it by its ticket, and replies to it.
    Question(Ticket),
    /// The machine wants to know who holds this key.
    Blocker(PhysicalKey),
}

impl Inspection {
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Question(ticket) => Some(*ticket),
            Self::Blocker(_) => None,
        }
    }
}

/// What a session does next.
#[derive(Debug)]
pub(crate) enum Job {
    Exchange(Arc<Batch>),
    /// Blocks on the server. A lock that is taken is known as this grant.
    Wait {
        request: Request,
        slice: Duration,
        grant: GrantId,
    },
    Ping,
    Inspect(Vec<Inspection>),
    /// Watches its socket until it is woken, at most until then.
    Idle(Time),
    /// Ends: the machine has forgotten it.
    Close,
}
