//! What must be true of every run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::State;
use super::process::{Guards, Process};
use super::world::World;
use crate::engine::machine::event::{Acquire, Ticket, Time};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// How often it is looked for callers that wait in vain.
pub(super) const WATCH: Duration = Duration::from_millis(250);

/// After its last fault a process needs so long to be as before: it opens no session for a second.
const CALM: Duration = Duration::from_secs(4);

/// So many looks in a row may find that a caller waits for a key that it could have: retries are up
/// to a quarter of a second apart, and a wait for another key may have to end first.
const STARVED: u32 = 12;

/// A try is answered by then in a process that met no faults.
const TRIED: Duration = Duration::from_secs(4);

/// After the callers have stopped everything is over by then.
const END: Duration = Duration::from_secs(15 * 60);

impl World {
    /// A guard that says that it holds a lock holds it, or its loss is on its way: its session has
    /// ended on the server, and its task has not found out yet.
    pub(super) fn check_guards(&self) {
        for process in &self.processes {
            let max = process.settings.max_sessions;
            assert!(process.tasks.len() <= max, "more than {max} sessions");
            for (grant, guards) in &process.guards {
                let Guards {
                    key,
                    mode,
                    session,
                    backend,
                    is_lost,
                    ..
                } = guards;
                if *is_lost {
                    continue;
                }
                let is_alive = self.server.is_alive(*backend);
                let is_held = !is_alive || self.server.holds(*backend, key, *mode);
                assert!(is_held, "{key} is not held by its guard");
                let task = process.tasks.get(session);
                let handle = process.handles.get(grant).map(|handle| handle.backend);
                let found = handle.or(task.and_then(|task| task.backend));
                let is_known = task.is_some() && found == Some(*backend);
                assert!(
                    is_known,
                    "nothing will ever tell the guard of {key} that it is lost"
                );
            }
        }
    }

    /// A caller is served in its turn, and not after its deadline.
    pub(super) fn check_grant(&self, process: usize, request: &Acquire, since: Time) {
        let deadline = request.deadline.unwrap_or(Time::MAX).max(since);
        assert!(self.now <= deadline, "granted after the deadline");
        for other in self.processes[process].waiting() {
            let is_before = other.ticket < request.ticket && other.key == request.key;
            let has_to_wait =
                other.one_try || other.mode == Mode::Shared && request.mode == Mode::Shared;
            assert!(!is_before || has_to_wait, "granted before {other:?}");
        }
    }

    /// A try is refused only if something was in its way.
    pub(super) fn check_busy(&self, process: usize, request: &Acquire, since: Time) {
        assert!(
            request.one_try,
            "a caller that waits is told that the key is busy"
        );
        let is_alone = {
            let mut waiting = self.processes[process].waiting();
            !waiting.any(|other| other.key == request.key && other.ticket != request.ticket)
        };
        let free_since = self.server.free_since(&request.key);
        let was_free = free_since.is_some_and(|free| free < since);
        let is_quiet = !self.faults.are_any();
        assert!(
            !(is_alone && was_free && is_quiet),
            "{} was free",
            request.key
        );
    }

    /// No caller waits for long for a key that it could have, and none for long that did not want
    /// to wait.
    pub(super) fn watch(&mut self) {
        for process in &mut self.processes {
            let is_calm = self.now.saturating_sub(process.last_fault) > CALM;
            let mut first: BTreeMap<PhysicalKey, Ticket> = BTreeMap::new();
            for request in process.waiting() {
                let ticket = first.entry(request.key.clone()).or_insert(request.ticket);
                *ticket = request.ticket.min(*ticket);
            }
            for client in &mut process.clients {
                let State::Waiting(request, since) = &client.state else {
                    continue;
                };
                let Acquire {
                    ticket, key, mode, ..
                } = request;
                let is_late = self.now.saturating_sub(*since) > TRIED;
                assert!(
                    !(request.one_try && is_late && is_calm),
                    "no answer to a try for {key} at {:?}: {:#?}",
                    self.now,
                    process.machine
                );
                let could_have = first[key] == *ticket && self.server.is_free_for(key, *mode);
                client.starved = match is_calm && could_have {
                    true => client.starved + 1,
                    false => 0,
                };
                assert!(
                    client.starved < STARVED,
                    "{key} is free and waited for at {:?}: {:#?}",
                    self.now,
                    process.machine
                );
            }
        }
    }

    /// Callers ask for nothing more.
    pub(super) fn stop(&mut self) {
        self.stopped_at = Some(self.now);
        for process in &mut self.processes {
            for client in &mut process.clients {
                if let State::Thinking = client.state {
                    client.enter(State::Stopped);
                }
            }
        }
    }

    /// A process whose pool has closed begins anew.
    pub(super) fn restart_drained(&mut self) {
        for process in 0..self.processes.len() {
            if self.processes[process].has_ended() {
                self.see("restarted");
                self.processes[process].restart(self.bug, &mut self.rng);
            }
        }
    }

    /// Everything has been given back and closed.
    pub(super) fn is_over(&self) -> bool {
        let Some(stopped_at) = self.stopped_at else {
            return false;
        };
        let is_over = self.server.is_empty() && self.processes.iter().all(Process::is_empty);
        let is_late = self.now > stopped_at + END;
        assert!(is_over || !is_late, "something is left: {self:#?}");
        is_over
    }
}
