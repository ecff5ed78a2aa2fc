//! One process: a machine, the tasks of its sessions, its callers and their guards.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;

use super::Bug;
use super::client::{Client, State};
use super::server::Backend;
use crate::engine::machine::event::{Acquire, GrantId, SessionId, Ticket, Time, Traits};
use crate::engine::machine::{Machine, Settings};
use crate::key::PhysicalKey;
use crate::mode::Mode;

const FEW: NonZeroUsize = NonZeroUsize::new(3).expect("above zero");
const MANY: NonZeroUsize = NonZeroUsize::new(512).expect("above zero");

#[derive(Debug)]
pub(super) struct Process {
    pub(super) machine: Machine,
    pub(super) settings: Settings,
    pub(super) traits: Traits,
    /// Its tasks can stop a wait.
    pub(super) stops_waits: bool,
    /// Counts the runtimes and machines that it has had.
    pub(super) epoch: u64,
    pub(super) tasks: BTreeMap<SessionId, Task>,
    pub(super) clients: Vec<Client>,
    pub(super) callers: BTreeMap<Ticket, Caller>,
    pub(super) guards: BTreeMap<GrantId, Guards>,
    /// Of inline sessions: what holds each lock.
    pub(super) handles: BTreeMap<GrantId, Handle>,
    /// Commands of inline sessions that threads carry out at the moment.
    pub(super) running: usize,
    /// When its timer goes off.
    pub(super) timer: Option<Time>,
    /// It has met faults, so its callers may have to wait.
    pub(super) last_fault: Time,
}

/// Who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Client(usize),
    /// For the confirmation of a release.
    Release,
    Meeting,
    Inspection,
}

/// The task of a session.
#[derive(Debug)]
pub(super) struct Task {
    /// The session on the server, once it is open.
    pub(super) backend: Option<Backend>,
    pub(super) is_idle: bool,
    /// Counts its jobs: what comes of an earlier one is ignored.
    pub(super) job: u64,
    pub(super) last_reply: Time,
    /// It has to prove that its server answers before anything else.
    pub(super) must_ping: bool,
    /// Callers for whom it looks at the server's locks.
    pub(super) inspecting: Vec<Ticket>,
}

/// A lock file that is open.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) session: SessionId,
    pub(super) key: PhysicalKey,
    pub(super) backend: Backend,
}

/// The guards of one grant.
#[derive(Debug)]
pub(super) struct Guards {
    pub(super) key: PhysicalKey,
    pub(super) mode: Mode,
    pub(super) session: SessionId,
    /// What holds it on the server.
    pub(super) backend: Backend,
    pub(super) count: u64,
    pub(super) is_lost: bool,
}

impl Process {
    pub(super) fn new(bug: Option<Bug>, rng: &mut Rng) -> Self {
        let settings = Settings {
            max_sessions: rng.usize(1..5),
            max_locks_per_session: [NonZeroUsize::MIN, FEW, MANY][rng.usize(0..3)],
            max_local_handoffs: [0, 5, 1024][rng.usize(0..3)],
            idle_timeout: Duration::from_millis(rng.u64(100..60_000)),
            silence: Duration::from_millis(7500),
        };
        let traits = Traits {
            can_wait: rng.u32(0..5) > 0,
            heartbeat: rng.bool().then_some(Duration::from_millis(500)),
            tells_holders: rng.bool(),
            is_inline: rng.u32(0..4) == 0,
        };
        let clients = std::iter::repeat_with(Client::new);
        Self {
            machine: machine(&settings, bug, rng),
            traits,
            stops_waits: rng.bool(),
            epoch: 0,
            tasks: BTreeMap::new(),
            clients: clients.take(rng.usize(1..12)).collect(),
            callers: BTreeMap::new(),
            guards: BTreeMap::new(),
            handles: BTreeMap::new(),
            running: 0,
            timer: None,
            last_fault: Time::ZERO,
            settings,
        }
    }

    /// The task ends: it replies to those for whom it was looking at the server's locks.
    pub(super) fn end_task(&mut self, session: SessionId) -> Option<Task> {
        let task = self.tasks.remove(&session)?;
        for ticket in &task.inspecting {
            let caller = self.callers.remove(ticket);
            assert_eq!(caller, Some(Caller::Inspection));
        }
        Some(task)
    }

    pub(super) fn has_fault_until(&mut self, at: Time) {
        self.last_fault = self.last_fault.max(at);
    }

    /// The requests that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Acquire> {
        self.clients
            .iter()
            .filter_map(|client| match &client.state {
                State::Waiting(request, _) => Some(request),
                _ => None,
            })
    }

    /// Its pool was closed, and nothing is left of it.
    pub(super) fn has_ended(&self) -> bool {
        let has_guards = !self.guards.is_empty() || !self.tasks.is_empty();
        self.machine.is_drained() && !has_guards && self.running == 0
    }

    /// Nobody wants anything, and nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        let Machine {
            keys,
            sessions,
            backoffs,
            unassigned,
            inspections,
            to_meet,
            ..
        } = &self.machine;
        let is_stopped = |client: &Client| matches!(client.state, State::Stopped);
        self.clients.iter().all(is_stopped)
            && self.tasks.is_empty()
            && self.callers.is_empty()
            && self.guards.is_empty()
            && self.handles.is_empty()
            && self.running == 0
            && keys.is_empty()
            && sessions.is_empty()
            && backoffs.is_empty()
            && unassigned.is_empty()
            && inspections.is_empty()
            && to_meet.is_empty()
    }

    /// The process is started anew, with the callers that it had.
    pub(super) fn restart(&mut self, bug: Option<Bug>, rng: &mut Rng) {
        assert!(
            self.callers.is_empty(),
            "no reply came to {:?}",
            self.callers
        );
        self.machine = machine(&self.settings, bug, rng);
        self.timer = None;
        self.epoch += 1;
    }
}

fn machine(settings: &Settings, bug: Option<Bug>, rng: &mut Rng) -> Machine {
    let mut machine = Machine::new(settings.clone(), rng.u64(..));
    machine.bug = bug;
    machine
}
