//! What a session does next. Its task asks when it is free, so a batch has all that has come in
//! until then.

use std::time::Duration;

use super::Machine;
use super::event::{Command, Job, Request, SessionId, Step, Ticket, Time};
use super::keys::Ask;

/// A clock cannot hold every duration that a setting can.
const LONGEST_IDLE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Machine {
    /// The next job of this session's task. Commands are for others.
    pub(crate) fn next(&mut self, id: SessionId, now: Time, commands: &mut Vec<Command>) -> Job {
        let step = &mut Step::new(now, commands);
        loop {
            let Some(session) = self.sessions.get_mut(id) else {
                return Job::Close;
            };
            if session.has_to_prove() || session.next_heartbeat().is_some_and(|due| due <= step.now)
            {
                return Job::Ping;
            }
            // In turn with batches: under load there is always one of either.
            if let Some(inspections) = session.next_inspections(true) {
                return Job::Inspect(inspections);
            }
            if let Some(batch) = self.send(id, step) {
                return batch;
            }
            let Some(session) = self.sessions.get_mut(id) else {
                return Job::Close;
            };
            if let Some(inspections) = session.next_inspections(false) {
                return Job::Inspect(inspections);
            }
            if session.has_probes() {
                return Job::Ping;
            }
            match session.take_wait() {
                Some(order) => {
                    if let Some(job) = self.begin_slice(id, order, step) {
                        return job;
                    }
                }
                None => return self.rest_session(id, step.now),
            }
        }
    }

    /// What is waiting to be sent on this session, as far as it is still wanted.
    fn send(&mut self, id: SessionId, step: &mut Step<'_>) -> Option<Job> {
        let last = Ticket::last(self.last_id);
        let Self { sessions, keys, .. } = self;
        let mut unwanted = Vec::new();
        let batch = sessions.get_mut(id)?.send(last, |key| {
            let entry = keys.entry(&key);
            match entry.wanted() {
                Some(mode) => Some(Request { key, mode }),
                None => {
                    entry.set_ask(Ask::Nothing);
                    unwanted.push(key);
                    None
                }
            }
        });
        for key in unwanted {
            self.advance(&key, step);
        }
        batch.map(Job::Exchange)
    }

    /// Nothing is to be done on this session at the moment.
    fn rest_session(&mut self, id: SessionId, now: Time) -> Job {
        let closes = self.is_closing();
        let Some(session) = self.sessions.get(id) else {
            return Job::Close;
        };
        let is_idle = session.is_idle();
        let idle_until = session.idle_until(self.settings.idle_timeout);
        if is_idle && (closes || idle_until <= now) {
            self.counters.sessions_closed += 1;
            self.sessions.remove(id);
            return Job::Close;
        }
        let ping_at = session.next_ping(self.settings.silence);
        if ping_at <= now {
            return Job::Ping;
        }
        let until = if is_idle {
            ping_at.min(idle_until)
        } else {
            ping_at
        };
        Job::Idle(until.min(now + LONGEST_IDLE))
    }
}
