//! What is true of the machine after every event.

use std::collections::HashMap;

use super::Machine;
use super::event::SessionId;
use super::keys::Ask;
use crate::key::PhysicalKey;

impl Machine {
    /// # Panics
    ///
    /// When an invariant does not hold.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(
            self.sessions.len() <= self.settings.max_sessions,
            "few sessions"
        );
        let mut tries: HashMap<(Option<SessionId>, &PhysicalKey), u32> = HashMap::new();
        let mut releases: HashMap<(SessionId, &PhysicalKey), u32> = HashMap::new();
        let mut held: HashMap<SessionId, usize> = HashMap::new();
        for key in &self.unassigned {
            *tries.entry((None, key)).or_default() += 1;
        }
        for (id, session) in self.sessions.iter() {
            for key in session.asked_tries() {
                *tries.entry((Some(id), key)).or_default() += 1;
            }
            for key in session.asked_releases() {
                *releases.entry((id, key)).or_default() += 1;
            }
            for key in session.probes() {
                let ask = self.keys.get(key).map(|entry| entry.ask());
                assert_eq!(ask, Some(Ask::Probe(id)), "{key} is probed for");
            }
            if let Some(order) = session.wait() {
                let ask = self.keys.get(&order.request.key).map(|entry| entry.ask());
                assert_eq!(
                    ask,
                    Some(Ask::Wait(id)),
                    "{} is waited for",
                    order.request.key
                );
            }
        }
        let mut in_back_off = 0;
        for (key, entry) in self.keys.iter() {
            entry.check(|session| self.sessions.is_inline(session));
            for grant in entry.grants() {
                *held.entry(grant.session()).or_default() += 1;
            }
            let releasing = entry.releasing().iter();
            for session in releasing.filter(|session| !self.sessions.is_inline(**session)) {
                let sent = releases.remove(&(*session, key));
                assert_eq!(sent, Some(1), "{key} is given back by {session:?}");
            }
            match entry.ask() {
                Ask::Nothing => {
                    let is_blocked = entry.wanted().is_none() || !entry.releasing().is_empty();
                    assert!(is_blocked, "{key} is wanted and not asked for: {entry:?}");
                }
                // It is on its way to a thread or back.
                Ask::Try(Some(session)) if self.sessions.is_inline(session) => {}
                Ask::Try(session) => {
                    assert_eq!(tries.remove(&(session, key)), Some(1), "{key} is tried for");
                }
                Ask::Wait(session) => {
                    let order = self
                        .sessions
                        .get(session)
                        .and_then(|session| session.wait());
                    assert!(order.is_some_and(|order| order.request.key == *key));
                }
                Ask::BackOff(turn) => {
                    in_back_off += 1;
                    assert!(self.backoffs.has(turn, key), "{key} is put off");
                }
                Ask::Probe(session) => {
                    let session = self.sessions.get(session);
                    assert!(session.is_some_and(|session| session.probes().contains(key)));
                }
            }
        }
        assert_eq!(in_back_off, self.backoffs.len(), "back-offs have keys");
        assert!(tries.is_empty(), "tries of no key: {tries:?}");
        assert!(releases.is_empty(), "releases of no key: {releases:?}");
        for (id, session) in self.sessions.iter() {
            let counted = held.remove(&id).unwrap_or_default();
            assert_eq!(session.held(), counted, "{id:?} counts its locks");
        }
        assert!(held.is_empty(), "grants of no session: {held:?}");
    }
}
