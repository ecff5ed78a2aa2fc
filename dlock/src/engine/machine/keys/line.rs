//! The waiters of a key in this process.

use std::collections::VecDeque;
use std::ops::Range;

use crate::engine::machine::event::{Reply, Step, Ticket, Time};
use crate::mode::Mode;

/// An unused line keeps room for so many.
const FEW_WAITERS: usize = 8;

/// First in, first out, so sorted by ticket.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiters: VecDeque<Waiter>,
    /// How many of them prefer `Busy` to waiting.
    tries: usize,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) mode: Mode,
    pub(crate) deadline: Option<Time>,
    pub(crate) one_try: bool,
}

impl Line {
    pub(crate) fn push(&mut self, waiter: Waiter) {
        if self.waiters.capacity() == 0 {
            // Most lines are short, and there are many.
            self.waiters.reserve_exact(1);
        }
        self.tries += usize::from(waiter.one_try);
        self.waiters.push_back(waiter);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let found = self
            .waiters
            .binary_search_by_key(&ticket, |waiter| waiter.ticket);
        if let Some(waiter) = found.ok().and_then(|index| self.waiters.remove(index)) {
            self.tries -= usize::from(waiter.one_try);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.waiters.pop_front()?;
        self.tries -= usize::from(waiter.one_try);
        Some(waiter)
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Ticket> {
        self.tries = 0;
        self.waiters.drain(..).map(|waiter| waiter.ticket)
    }

    pub(crate) fn front(&self) -> Option<&Waiter> {
        self.waiters.front()
    }

    pub(crate) fn front_mode(&self) -> Option<Mode> {
        self.front().map(|waiter| waiter.mode)
    }

    /// How many waiters a grant of the front's mode serves: one, or where it can be shared all up
    /// to the next of another mode.
    pub(crate) fn served_by_next_grant(&self) -> usize {
        match self.front_mode() {
            None => 0,
            Some(mode) if mode.is_shareable() => {
                let alike = self.waiters.iter();
                alike.take_while(|waiter| waiter.mode == mode).count()
            }
            Some(_) => 1,
        }
    }

    /// How many waiters the next answers of the server may serve: those of the next grant, or one
    /// try after the other.
    pub(crate) fn served_by_next_tries(&self) -> usize {
        let tries = self.waiters.iter().take_while(|waiter| waiter.one_try);
        tries.count().max(self.served_by_next_grant())
    }

    /// When the last waiter gives up that the next grant serves; `None` if one of them never
    /// does.
    pub(crate) fn last_deadline(&self) -> Option<Time> {
        let served = self.waiters.iter().take(self.served_by_next_grant());
        let deadlines = served.map(|waiter| waiter.deadline);
        deadlines.reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    /// Replies `Busy` to the tries in this part of the line that the answer was for.
    pub(crate) fn refuse_tries(
        &mut self,
        part: Range<usize>,
        is_answered: impl Fn(&Waiter) -> bool,
        step: &mut Step<'_>,
    ) {
        let end = part.end.min(self.waiters.len());
        if self.tries == 0 || part.start >= end {
            return;
        }
        let behind = self.waiters.split_off(end);
        let asked = self.waiters.split_off(part.start);
        for waiter in asked {
            if waiter.one_try && is_answered(&waiter) {
                self.tries -= 1;
                step.reply(waiter.ticket, Reply::Busy);
            } else {
                self.waiters.push_back(waiter);
            }
        }
        self.waiters.extend(behind);
    }

    /// The server has refused a lock of this mode to those who had asked by then: replies `Busy` to
    /// the tries that the same holder keeps out.
    pub(crate) fn refuse_answered(&mut self, mode: Mode, last: Ticket, step: &mut Step<'_>) {
        let end = self.waiters.partition_point(|waiter| waiter.ticket <= last);
        self.refuse_tries(0..end, |waiter| waiter.mode.is_kept_out_with(mode), step);
    }

    /// The server has failed the request: its waiters are those that a grant would have served.
    pub(crate) fn fail_front(&mut self, reply: &Reply, step: &mut Step<'_>) {
        for _ in 0..self.served_by_next_grant() {
            if let Some(waiter) = self.pop() {
                step.reply(waiter.ticket, reply.clone());
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// For the next use of an empty line.
    pub(super) fn shrink(&mut self) {
        self.waiters.shrink_to(FEW_WAITERS);
    }

    /// See [`check_invariants`](super::super::Machine::check_invariants).
    #[cfg(test)]
    pub(super) fn check(&self) {
        let sorted = self.waiters.iter().is_sorted_by(|a, b| a.ticket < b.ticket);
        assert!(sorted, "waiters stand in line by ticket");
        let tries = self.waiters.iter().filter(|waiter| waiter.one_try).count();
        assert_eq!(tries, self.tries, "tries are counted");
    }
}
