//! Processes and a server in virtual time, and what must be true of them after every event.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::Bug;
use super::client::Habits;
use super::faults::{Faults, ended};
use super::process::Process;
use super::promises::WATCH;
use super::server::{Backend, Server};
use crate::engine::machine::event::{
    Answer, Answers, Event, GrantId, Inline, Inspection, Job, SessionId, Time,
};
use crate::key::PhysicalKey;

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) habits: Habits,
    pub(super) faults: Faults,
    pub(super) bug: Option<Bug>,
    pub(super) now: Time,
    pub(super) planned: u64,
    pub(super) plan: BTreeMap<(Time, u64), Happening>,
    pub(super) server: Server,
    pub(super) waits: BTreeMap<Backend, Wait>,
    pub(super) processes: Vec<Process>,
    /// When the callers were told to ask for nothing more.
    pub(super) stopped_at: Option<Time>,
    /// Of all that has happened.
    pub(super) fingerprint: u64,
    pub(super) seen: Seen,
}

/// How often which case has occurred.
pub(super) type Seen = BTreeMap<&'static str, u64>;

/// A job of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) process: usize,
    pub(super) epoch: u64,
    pub(super) session: SessionId,
    pub(super) job: u64,
}

/// A wait on the server.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    pub(super) job: Assignment,
    pub(super) key: PhysicalKey,
    /// What the lock will be known as.
    pub(super) grant: GrantId,
    /// It has a handle of its own on the server.
    pub(super) is_inline: bool,
}

#[derive(Debug)]
pub(super) enum Happening {
    /// What a client has planned for this step.
    Client {
        process: usize,
        client: usize,
        step: u64,
    },
    Opened {
        process: usize,
        epoch: u64,
        session: SessionId,
    },
    /// A statement takes effect on the server.
    Executed(Assignment, Backend, Job),
    SliceEnds(Assignment, Backend),
    Replied(Assignment, Response),
    /// A thread has carried out a command of an inline session.
    Ran(usize, SessionId, Inline),
    /// A task that slept until now.
    Awake(Assignment),
    /// A task finds out that its session has ended.
    LossSeen {
        process: usize,
        epoch: u64,
        session: SessionId,
    },
    /// A session ends on the server.
    Ends(Backend),
    Timer(usize),
    Fault,
    Watch,
}

#[derive(Debug)]
pub(super) enum Response {
    Answers(Answers),
    Waited(GrantId, Option<Answer>),
    Pong,
    Inspected(Vec<Inspection>),
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let processes = rng.usize(1..9);
        let mut world = Self {
            habits: Habits::of(&mut rng),
            faults: Faults::of(&mut rng),
            bug,
            now: Time::ZERO,
            planned: 0,
            plan: BTreeMap::new(),
            server: Server::default(),
            waits: BTreeMap::new(),
            processes: (0..processes)
                .map(|_| Process::new(bug, &mut rng))
                .collect(),
            stopped_at: None,
            fingerprint: seed,
            seen: Seen::new(),
            rng,
        };
        for process in 0..processes {
            for client in 0..world.processes[process].clients.len() {
                world.plan_client(process, client, Duration::ZERO);
            }
        }
        world.after(WATCH, Happening::Watch);
        if let Some(every) = world.faults.every {
            world.after(every, Happening::Fault);
        }
        world
    }

    /// At least so many events, and then to the end. Returns what has occurred.
    ///
    /// # Panics
    ///
    /// When a promise is broken.
    pub(super) fn run(&mut self, events: u64) -> &Seen {
        let mut count = 0;
        while !self.is_over() {
            let Some(((at, number), happening)) = self.plan.pop_first() else {
                panic!("nothing will ever happen again");
            };
            self.now = at;
            self.server.set_time(at);
            self.fingerprint = (self.fingerprint ^ number ^ u64::from(at.subsec_nanos()))
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(5);
            self.happen(happening);
            self.check_guards();
            self.restart_drained();
            count += 1;
            if count == events {
                self.stop();
            }
            assert!(count < 100 * events, "it goes on and on");
        }
        self.count_handovers();
        self.seen.insert("event", count);
        &self.seen
    }

    /// Two runs that differ anywhere have different traces.
    pub(super) fn trace(&self) -> u64 {
        self.fingerprint
    }

    pub(super) fn see(&mut self, case: &'static str) {
        *self.seen.entry(case).or_default() += 1;
    }

    pub(super) fn count_handovers(&mut self) {
        let counters = self
            .processes
            .iter()
            .map(|process| process.machine.counters.handoffs);
        *self.seen.entry("handed over").or_default() += counters.sum::<u64>();
    }

    pub(super) fn after(&mut self, delay: Duration, happening: Happening) {
        self.planned += 1;
        self.plan
            .insert((self.now + delay, self.planned), happening);
    }

    /// Mostly short, at times longer than a reply proves anything.
    pub(super) fn latency(&mut self) -> Duration {
        match self.rng.u32(0..200) == 0 && self.faults.every.is_some() {
            true => Duration::from_millis(self.rng.u64(0..400)),
            false => self.faults.latency.mul_f64(self.rng.f64()),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Client {
                process,
                client,
                step,
            } => {
                if self.processes[process].clients[client].step == step {
                    self.act(process, client);
                }
            }
            Happening::Opened {
                process,
                epoch,
                session,
            } => self.opened(process, epoch, session),
            Happening::Executed(job, backend, work) => self.execute(job, backend, work),
            Happening::SliceEnds(job, backend) => {
                let is_same = self.waits.get(&backend).is_some_and(|wait| wait.job == job);
                if is_same && self.server.stop_wait(backend) {
                    self.wait_ends(backend, Some(Answer::No));
                }
            }
            Happening::Replied(job, response) => self.replied(job, response),
            Happening::Ran(process, session, inline) => self.ran(process, session, inline),
            Happening::Awake(job) => {
                if self.task(job).is_some_and(|task| task.is_idle) {
                    self.next(job.process, job.session);
                }
            }
            Happening::LossSeen {
                process,
                epoch,
                session,
            } => {
                if self.processes[process].epoch == epoch
                    && self.end_task(process, session).is_some()
                {
                    let error = ended();
                    self.handle(process, Event::SessionLost { session, error });
                }
            }
            Happening::Ends(backend) => self.end(backend),
            Happening::Timer(process) => {
                if self.processes[process]
                    .timer
                    .is_some_and(|timer| timer <= self.now)
                {
                    self.processes[process].timer = None;
                    self.handle(process, Event::Tick);
                }
            }
            Happening::Fault => self.fault(),
            Happening::Watch => {
                self.watch();
                self.after(WATCH, Happening::Watch);
            }
        }
    }
}
