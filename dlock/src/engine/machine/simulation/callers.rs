//! What callers do, and what they are told.

use std::time::Duration;

use super::client::State;
use super::process::{Caller, Guards};
use super::world::{Happening, World};
use crate::engine::machine::event::{Event, Reply, Ticket};
use crate::engine::machine::keys::TENURE;

impl World {
    pub(super) fn plan_client(&mut self, process: usize, client: usize, delay: Duration) {
        let step = self.processes[process].clients[client].step;
        let happening = Happening::Client {
            process,
            client,
            step,
        };
        self.after(delay, happening);
    }

    pub(super) fn think(&mut self, process: usize, client: usize) {
        let state = match self.stopped_at.is_some() {
            true => State::Stopped,
            false => State::Thinking,
        };
        self.processes[process].clients[client].enter(state);
        if self.stopped_at.is_none() {
            let pause = self.habits.pause(&mut self.rng);
            self.plan_client(process, client, pause);
        }
    }

    pub(super) fn act(&mut self, process: usize, client: usize) {
        match self.processes[process].clients[client].state.clone() {
            State::Thinking => {
                let ticket = self.processes[process].machine.ticket(0);
                let (request, gives_up) = self.habits.request(ticket, self.now, &mut self.rng);
                self.call(process, ticket, Caller::Client(client));
                let since = self.now;
                let waiting = State::Waiting(request.clone(), since);
                self.processes[process].clients[client].enter(waiting);
                if let Some(at) = gives_up {
                    self.plan_client(process, client, at.saturating_sub(self.now));
                }
                self.handle(process, Event::Acquire(request));
            }
            State::Waiting(request, _) => {
                self.see("wait given up");
                let ticket = request.ticket;
                self.processes[process].callers.remove(&ticket);
                self.think(process, client);
                let key = request.key;
                self.handle(process, Event::Cancel { ticket, key });
            }
            State::Holding(grant, key) => {
                let is_confirmed = self.rng.bool();
                let confirm = is_confirmed.then(|| {
                    let ticket = self.processes[process].machine.ticket(0);
                    self.call(process, ticket, Caller::Release);
                    ticket
                });
                let guards = &mut self.processes[process].guards;
                if let Some(held) = guards.get_mut(&grant) {
                    held.count -= 1;
                    if held.count == 0 {
                        guards.remove(&grant);
                    }
                }
                self.think(process, client);
                let event = Event::Release {
                    grant,
                    key,
                    confirm,
                };
                self.handle(process, event);
            }
            State::Stopped => {}
        }
    }

    pub(super) fn call(&mut self, process: usize, ticket: Ticket, caller: Caller) {
        self.processes[process].callers.insert(ticket, caller);
    }

    pub(super) fn reply(&mut self, process: usize, ticket: Ticket, reply: Reply) {
        let caller = self.processes[process].callers.remove(&ticket);
        let caller = caller.unwrap_or_else(|| panic!("a caller that is gone gets {reply:?}"));
        let Caller::Client(client) = caller else {
            return match (caller, reply) {
                (Caller::Release, Reply::Released(true)) => self.see("released"),
                (Caller::Release, Reply::Released(false)) => self.see("released too late"),
                (Caller::Meeting, Reply::Met) => self.see("met"),
                (Caller::Meeting | Caller::Inspection, Reply::Failed(_) | Reply::Restart) => {}
                (caller, reply) => panic!("{caller:?} gets {reply:?}"),
            };
        };
        let state = self.processes[process].clients[client].state.clone();
        let State::Waiting(request, since) = state else {
            panic!("a client in {state:?} gets {reply:?}");
        };
        match reply {
            Reply::Granted { grant, session } => {
                self.check_grant(process, &request, since);
                self.see(match self.processes[process].traits.is_inline {
                    true => "granted inline",
                    false => "granted",
                });
                let process_ = &mut self.processes[process];
                let task = process_.tasks.get(&session);
                let task = task.expect("a grant has a session");
                let (backend, is_proved) = match process_.handles.get(&grant) {
                    Some(handle) => (handle.backend, self.server.is_alive(handle.backend)),
                    None => {
                        let age = self.now.saturating_sub(task.last_reply);
                        let backend = task.backend.expect("a grant has an open session");
                        (backend, age <= TENURE)
                    }
                };
                assert!(is_proved, "granted unproved");
                let guards = &mut process_.guards;
                let held = guards.entry(grant).or_insert_with(|| Guards {
                    key: request.key.clone(),
                    mode: request.mode,
                    session,
                    backend,
                    count: 0,
                    is_lost: false,
                });
                held.count += 1;
                assert!(!held.is_lost, "a lost lock is granted");
                assert_eq!((&held.key, held.mode), (&request.key, request.mode));
                assert!(
                    held.count == 1 || held.mode.is_shareable(),
                    "one exclusive guard"
                );
                self.processes[process].clients[client].enter(State::Holding(grant, request.key));
                let hold = self.habits.hold(&mut self.rng);
                self.plan_client(process, client, hold);
            }
            Reply::Busy => {
                self.see("busy");
                self.check_busy(process, &request, since);
                self.think(process, client);
            }
            Reply::Failed(error) => {
                assert!(self.faults.are_any(), "{error} without any fault");
                self.see("failed");
                self.think(process, client);
            }
            Reply::Restart => {
                self.see("begun anew");
                self.think(process, client);
            }
            Reply::Deadlock => {
                assert!(self.faults.are_any(), "a deadlock without any fault");
                self.see("deadlock");
                self.think(process, client);
            }
            Reply::Released(_) | Reply::Met => panic!("a client gets {reply:?}"),
        }
    }
}
