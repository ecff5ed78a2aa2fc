//! What is true of the machine after every event.

use super::Machine;
use super::event::SessionId;
use super::keys::{Ask, Entry};
use crate::key::PhysicalKey;

impl Machine {
    /// # Panics
    ///
    /// When an invariant does not hold.
    pub(super) fn check_invariants(&self) {
        let max = self.settings.max_sessions;
        assert!(self.sessions.len() <= max, "more than {max} sessions");
        let (mut tries, mut releases, mut back_offs, mut probes) = (0, 0, 0, 0);
        for (key, entry) in self.keys.iter() {
            entry.check(|session| self.sessions.is_inline(session));
            for session in entry.releasing().iter().filter(|id| !self.is_inline(**id)) {
                releases += 1;
                let session = self
                    .sessions
                    .get(*session)
                    .expect("it is released by a session");
                let sent = session.asked_releases().filter(|asked| *asked == key);
                assert_eq!(sent.count(), 1, "{key} is released once");
            }
            match entry.ask() {
                Ask::Nothing => {
                    let is_blocked = entry.wanted().is_none() || !entry.releasing().is_empty();
                    assert!(is_blocked, "{key} is wanted and not asked for: {entry:?}");
                }
                // It is on its way to a thread or back.
                Ask::Try(Some(session)) if self.is_inline(session) => {}
                Ask::Try(session) => {
                    tries += 1;
                    assert_eq!(self.tries_for(session, key), 1, "{key} is tried for once");
                }
                Ask::Wait(session) => {
                    let order = self
                        .sessions
                        .get(session)
                        .and_then(|session| session.wait());
                    assert!(order.is_some_and(|order| order.request.key == *key));
                }
                Ask::BackOff(turn) => {
                    back_offs += 1;
                    assert!(self.backoffs.has(turn, key), "{key} is put off");
                }
                Ask::Probe(session) => {
                    probes += 1;
                    let session = self.sessions.get(session);
                    assert!(session.is_some_and(|session| session.probes().contains(key)));
                }
            }
        }
        assert_eq!(back_offs, self.backoffs.len(), "back-offs are of keys");
        let mut asked = self.unassigned.len();
        for (id, session) in self.sessions.iter() {
            asked += session.asked_tries().count();
            releases -= session.asked_releases().count();
            probes -= session.probes().len();
            let held = |(_, entry): (_, &Entry)| entry.grants_on(id);
            let held: usize = self.keys.iter().map(held).sum();
            assert_eq!(session.held(), held, "{id:?} counts its locks");
            if let Some(order) = session.wait() {
                let entry = self.keys.get(&order.request.key).expect("it is waited for");
                assert_eq!(
                    entry.ask(),
                    Ask::Wait(id),
                    "{} is waited for",
                    order.request.key
                );
            }
        }
        assert_eq!(
            (asked, releases, probes),
            (tries, 0, 0),
            "sessions are asked for keys"
        );
    }

    fn is_inline(&self, id: SessionId) -> bool {
        self.sessions.is_inline(id)
    }

    fn tries_for(&self, session: Option<SessionId>, key: &PhysicalKey) -> usize {
        let Some(session) = session else {
            return self.unassigned.iter().filter(|asked| *asked == key).count();
        };
        let session = self
            .sessions
            .get(session)
            .expect("it is asked of a session");
        session.asked_tries().filter(|asked| *asked == key).count()
    }
}
