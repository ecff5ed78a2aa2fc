//! One lock: who holds it, and who waits for it.

use tokio::sync::oneshot;

use super::Mode;
use crate::SessionId;

#[derive(Debug)]
pub(super) struct Held {
    pub(super) session: SessionId,
    pub(super) mode: Mode,
    /// It must be released as often.
    pub(super) count: u32,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) session: SessionId,
    /// What the session is to hold then.
    pub(super) mode: Mode,
    /// It holds the lock in a weaker mode.
    pub(super) converts: bool,
    pub(super) granted: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct Lock {
    pub(super) held: Vec<Held>,
    /// First those that convert, and each in the order of arrival.
    pub(super) waiting: Vec<Waiter>,
}

impl Lock {
    pub(super) fn held_by(&self, session: SessionId) -> Option<Mode> {
        self.held
            .iter()
            .find(|held| held.session == session)
            .map(|held| held.mode)
    }

    /// The stronger of what the session holds and what it asks for.
    pub(super) fn mode_after(&self, session: SessionId, asked: Mode) -> Mode {
        self.held_by(session).map_or(asked, |held| held.max(asked))
    }

    /// Who is in the way of the session, were it to hold the lock in this mode, with so many of the waiting ahead of it.
    ///
    /// A conversion looks at the holders only; a new request also does not overtake a waiting one that it would be in the
    /// way of.
    pub(super) fn blockers(&self, session: SessionId, mode: Mode, ahead: usize) -> Vec<SessionId> {
        let holders = self.held.iter().map(|held| (held.session, held.mode));
        let ahead = if self.held_by(session).is_some() {
            0
        } else {
            ahead
        };
        let waiting = self.waiting[..ahead]
            .iter()
            .map(|waiter| (waiter.session, waiter.mode));
        holders
            .chain(waiting)
            .filter(|(other, taken)| *other != session && !mode.is_compatible(*taken))
            .map(|(other, _)| other)
            .collect()
    }

    pub(super) fn grant(&mut self, session: SessionId, mode: Mode) {
        match self.held.iter_mut().find(|held| held.session == session) {
            Some(held) => {
                held.mode = held.mode.max(mode);
                held.count += 1;
            }
            None => self.held.push(Held {
                session,
                mode,
                count: 1,
            }),
        }
    }

    pub(super) fn enqueue(&mut self, waiter: Waiter) {
        let conversions = self.waiting.iter().filter(|waiter| waiter.converts).count();
        let at = if waiter.converts {
            conversions
        } else {
            self.waiting.len()
        };
        self.waiting.insert(at, waiter);
    }

    /// Who is in the way of the session that waits.
    pub(super) fn blockers_of_waiter(&self, session: SessionId) -> Option<Vec<SessionId>> {
        let at = self
            .waiting
            .iter()
            .position(|waiter| waiter.session == session)?;
        Some(self.blockers(session, self.waiting[at].mode, at))
    }

    /// `false` if the session did not wait.
    pub(super) fn withdraw(&mut self, session: SessionId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiter| waiter.session != session);
        self.settle();
        self.waiting.len() < before
    }

    /// One time less; `false` if the session does not hold it.
    pub(super) fn release(&mut self, session: SessionId) -> bool {
        let Some(at) = self.held.iter().position(|held| held.session == session) else {
            return false;
        };
        self.held[at].count -= 1;
        if self.held[at].count == 0 {
            self.held.remove(at);
            self.settle();
        }
        true
    }

    /// All of it, held or waited for.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.held.retain(|held| held.session != session);
        self.waiting.retain(|waiter| waiter.session != session);
        self.settle();
    }

    pub(super) fn is_unused(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }

    /// Serves whoever can be served now, first come first.
    fn settle(&mut self) {
        let mut at = 0;
        while let Some(waiter) = self.waiting.get(at) {
            if self.blockers(waiter.session, waiter.mode, at).is_empty() {
                let waiter = self.waiting.remove(at);
                self.grant(waiter.session, waiter.mode);
                // Who has stopped listening finds the lock granted when it withdraws.
                let _ = waiter.granted.send(());
            } else {
                at += 1;
            }
        }
    }
}
