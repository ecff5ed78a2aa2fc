//! What goes wrong.

use std::time::Duration;

use fastrand::Rng;
use sea_orm::DbErr;

use super::process::Caller;
use super::server::Backend;
use super::world::{Happening, World};
use crate::engine::machine::event::{Answer, Error, Event, SessionId};
use crate::error::Phase;

/// How often what goes wrong.
#[derive(Debug)]
pub(super) struct Faults {
    /// Between two faults; none at all without.
    pub(super) every: Option<Duration>,
    /// Of connections.
    pub(super) refused: f64,
    /// Of answers.
    pub(super) lost: f64,
    /// Of requests that the server fails.
    pub(super) failed: f64,
    /// Longest time that a statement or an answer travels.
    pub(super) latency: Duration,
}

impl Faults {
    pub(super) fn of(rng: &mut Rng) -> Self {
        let every = Duration::from_millis(rng.u64(20..5000));
        Self {
            every: (rng.u32(0..4) > 0).then_some(every),
            refused: [0.0, 0.1, 0.5][rng.usize(0..3)],
            lost: [0.0, 0.001, 0.02][rng.usize(0..3)],
            failed: [0.0, 0.0, 0.002][rng.usize(0..3)],
            latency: Duration::from_micros([200, 2000, 20_000][rng.usize(0..3)]),
        }
    }

    pub(super) fn are_any(&self) -> bool {
        self.every.is_some() || self.refused > 0.0 || self.lost > 0.0 || self.failed > 0.0
    }
}

impl Answer {
    pub(super) fn refused() -> Self {
        Self::Failed(DbErr::Custom("the server refuses it".to_owned()))
    }
}

pub(super) fn ended() -> Error {
    Phase::Acquire.failed(DbErr::Custom("the session has ended".to_owned()))
}

impl World {
    /// The session ends on the server, and its process learns of it later.
    pub(super) fn kill(&mut self, backend: Backend) {
        self.see("killed");
        if self.waits.get(&backend).is_some_and(|wait| wait.is_inline) {
            // It is a file that is not locked yet.
            return;
        }
        for process in 0..self.processes.len() {
            let tasks = self.processes[process].tasks.iter();
            let mut mine = tasks.filter(|(_, task)| task.backend == Some(backend));
            if let Some((session, _)) = mine.next() {
                let session = *session;
                let epoch = self.processes[process].epoch;
                // A network that has gone silent is noticed late.
                let longest = [5, 200, 8000][self.rng.usize(0..3)];
                let delay = Duration::from_millis(self.rng.u64(0..longest));
                let at = self.now + delay;
                self.processes[process].has_fault_until(at);
                let seen = Happening::LossSeen {
                    process,
                    epoch,
                    session,
                };
                self.after(delay, seen);
            }
            let mut handles = self.processes[process].handles.values();
            if handles.any(|handle| handle.backend == backend) {
                // A file that was taken away is noticed by the next ping.
                let at = self.now + self.processes[process].settings.silence;
                self.processes[process].has_fault_until(at);
            }
        }
        self.end(backend);
    }

    pub(super) fn end(&mut self, backend: Backend) {
        self.waits.remove(&backend);
        let granted = self.server.end(backend);
        self.waits_granted(granted);
    }

    pub(super) fn fault(&mut self) {
        let Some(every) = self.faults.every.filter(|_| self.stopped_at.is_none()) else {
            return;
        };
        let delay = every.mul_f64(2.0 * self.rng.f64());
        self.after(delay, Happening::Fault);
        let process = self.rng.usize(0..self.processes.len());
        match self.rng.u32(0..20) {
            0..8 => {
                let alive = self.server.alive();
                if !alive.is_empty() {
                    let index = self.rng.usize(0..alive.len());
                    self.kill(alive[index]);
                }
            }
            // The server is started anew.
            8 => self
                .server
                .alive()
                .into_iter()
                .for_each(|backend| self.kill(backend)),
            // The process gives up a session that the server still has.
            9 | 10 => self.silence(process),
            11 => self.end_runtime(process),
            12 | 13 => self.close(process),
            14 => self.dispute(process),
            15 => self.refuse(process),
            16 => self.leave(process),
            17 => {
                let ticket = self.processes[process].machine.ticket(0);
                self.call(process, ticket, Caller::Meeting);
                self.handle(process, Event::Meet(ticket));
            }
            _ => {
                let ticket = self.processes[process].machine.ticket(0);
                self.call(process, ticket, Caller::Inspection);
                self.handle(process, Event::Inspect(ticket));
            }
        }
    }

    fn leave(&mut self, process: usize) {
        let callers = &mut self.processes[process].callers;
        let mut meeting = callers
            .iter()
            .filter(|(_, caller)| **caller == Caller::Meeting);
        if let Some(ticket) = meeting.next().map(|(ticket, _)| *ticket) {
            callers.remove(&ticket);
            self.handle(process, Event::Leave(ticket));
        }
    }

    fn dispute(&mut self, process: usize) {
        self.see("disputed");
        for task in self.processes[process].tasks.values_mut() {
            task.must_ping = task.backend.is_some();
        }
        self.handle(process, Event::Disputed);
    }

    pub(super) fn some_session(&mut self, process: usize) -> Option<SessionId> {
        let tasks = self.processes[process].tasks.iter();
        let open = tasks.filter(|(_, task)| task.backend.is_some());
        let open: Vec<SessionId> = open.map(|(session, _)| *session).collect();
        (!open.is_empty()).then(|| open[self.rng.usize(0..open.len())])
    }

    pub(super) fn silence(&mut self, process: usize) {
        let Some(session) = self.some_session(process) else {
            return;
        };
        let at = self.now;
        self.processes[process].has_fault_until(at);
        let task = self.end_task(process, session);
        if let Some(backend) = task.and_then(|task| task.backend) {
            let delay = Duration::from_millis(self.rng.u64(0..5000));
            self.after(delay, Happening::Ends(backend));
        }
        let error = ended();
        self.handle(process, Event::SessionLost { session, error });
    }

    pub(super) fn refuse(&mut self, process: usize) {
        if let Some(session) = self.some_session(process) {
            self.see("refused");
            // It gets no request for ten seconds.
            let at = self.now + Duration::from_secs(10);
            self.processes[process].has_fault_until(at);
            let error = ended();
            let session = Some(session);
            self.handle(process, Event::Refused { session, error });
        }
    }

    pub(super) fn end_runtime(&mut self, process: usize) {
        self.see("runtime ended");
        let at = self.now;
        self.processes[process].has_fault_until(at);
        let sessions: Vec<_> = self.processes[process].tasks.keys().copied().collect();
        for session in sessions {
            let task = self.end_task(process, session);
            if let Some(backend) = task.and_then(|task| task.backend) {
                let delay = Duration::from_millis(self.rng.u64(0..50));
                self.after(delay, Happening::Ends(backend));
            }
        }
        self.processes[process].epoch += 1;
        self.handle(process, Event::RuntimeEnded);
    }

    /// In half of all cases without waiting for the guards.
    pub(super) fn close(&mut self, process: usize) {
        self.see("closed");
        self.handle(process, Event::Close);
        if self.rng.bool() {
            self.handle(process, Event::Abandon);
        }
    }
}
