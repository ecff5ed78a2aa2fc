//! What callers do.

use std::time::Duration;

use fastrand::Rng;

use crate::engine::machine::event::{Acquire, GrantId, Ticket, Time};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// A caller: it thinks, asks for a lock, waits, holds it, gives it back, and thinks again.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) state: State,
    /// Counts its states: what was planned for an earlier one does not happen.
    pub(super) step: u64,
    /// For how many looks in a row its key has been free while it waited.
    pub(super) starved: u32,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Thinking,
    /// Since when.
    Waiting(Acquire, Time),
    Holding(GrantId, PhysicalKey),
    Stopped,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            state: State::Thinking,
            step: 0,
            starved: 0,
        }
    }

    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
        self.step += 1;
        self.starved = 0;
    }
}

/// How the callers of a run are.
#[derive(Debug, Clone)]
pub(super) struct Habits {
    pub(super) keys: u64,
    pub(super) pause: Duration,
    pub(super) hold: Duration,
    pub(super) readers: f64,
    pub(super) tries: f64,
}

impl Habits {
    pub(super) fn of(rng: &mut Rng) -> Self {
        Self {
            keys: 1 << rng.u32(0..7),
            pause: Duration::from_millis(rng.u64(0..200)),
            hold: Duration::from_millis(1 << rng.u32(0..9)),
            readers: [0.0, 0.3, 0.9][rng.usize(0..3)],
            tries: [0.0, 0.2, 0.8][rng.usize(0..3)],
        }
    }

    pub(super) fn pause(&self, rng: &mut Rng) -> Duration {
        self.pause.mul_f64(rng.f64())
    }

    /// Mostly short, at times long.
    pub(super) fn hold(&self, rng: &mut Rng) -> Duration {
        match rng.u32(0..20) {
            0 => Duration::from_millis(rng.u64(0..4000)),
            _ => self.hold.mul_f64(rng.f64()),
        }
    }

    /// A request, and when its caller gives up.
    pub(super) fn request(
        &self,
        ticket: Ticket,
        now: Time,
        rng: &mut Rng,
    ) -> (Acquire, Option<Time>) {
        let after = |milliseconds| Some(now + Duration::from_millis(milliseconds));
        let deadline = match rng.u32(0..8) {
            0..3 => None,
            // In the past.
            3 => Some(now.saturating_sub(Duration::from_millis(5))),
            4 => after(rng.u64(0..50)),
            5 | 6 => after(rng.u64(0..5000)),
            _ => after(365 * 24 * 60 * 60 * 1000),
        };
        let dropped = match rng.u32(0..6) {
            0 => after(rng.u64(0..1500)),
            _ => None,
        };
        let key = rng.u64(0..self.keys).cast_signed();
        let request = Acquire {
            ticket,
            key: PhysicalKey::Int(key),
            name: key.into(),
            mode: match rng.f64() < self.readers {
                true => Mode::Shared,
                false => Mode::Exclusive,
            },
            deadline,
            one_try: rng.f64() < self.tries,
        };
        let ends = [deadline.map(|deadline| deadline.max(now)), dropped];
        (request, ends.into_iter().flatten().min())
    }
}
