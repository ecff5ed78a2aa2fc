//! How sessions fail and end, and what becomes of those who relied on them. See `state`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::queue::{Ask, Loss, SessionId};
use super::sessions::{InFlight, WaitOrder};
use super::state::State;
use crate::backend::{Batch, SessionError};
use crate::error::{Error, LossCause, Phase};
use crate::key::{Key, PhysicalKey};

/// After a refused connection the sessions that exist carry on for this long before another is tried.
const REFUSED: Duration = Duration::from_secs(1);

/// After the pool was refused, new requests get the error for this long. A proxy that moves
/// sessions may leave a lock behind each time, so it gets few occasions.
pub(crate) const QUARANTINE: Duration = Duration::from_secs(10);

/// So many sessions in a row may die before their first answer.
pub(crate) const MAX_STILLBORN: u32 = 3;

impl State {
    /// A session could not be opened. The others carry on; without any, everybody hears why.
    pub(crate) fn open_failed(&mut self, id: SessionId, error: &SessionError, now: Instant) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.inspections.extend(session.inspections);
        self.counters.sessions_refused += 1;
        if self.sessions.is_empty() {
            return self.refuse_everybody(error);
        }
        self.refused_until = Some(now + REFUSED);
        self.assign(now);
        if let Some(session) = self.sessions.values_mut().find(|session| session.ready) {
            session.inspections.append(&mut self.inspections);
            session.inbox.notify_one();
        }
    }

    /// A session has ended, and its locks with it; those who waited for it ask anew. When one after the other dies before its first answer, that is an error,
    /// so that this does not go round in circles. Returns the names of the locks that are lost.
    pub(crate) fn session_lost(
        &mut self,
        id: SessionId,
        error: &SessionError,
        now: Instant,
    ) -> Vec<Key> {
        let Some(mut session) = self.sessions.remove(&id) else {
            return Vec::new();
        };
        self.counters.sessions_lost += 1;
        // The first answer to a wait takes its time.
        if !session.has_answered && session.wait.is_none() {
            self.stillborn += 1;
            self.refused_until = Some(now + REFUSED);
        }
        let mut lost = Vec::new();
        let mut keys: Vec<PhysicalKey> = session.held.drain().collect();
        for key in &keys {
            let queue = self.keys.get_mut(key).expect("BUG: it is held");
            lost.extend(queue.name.clone());
            let holds = queue.holds.extract_if(.., |hold| hold.session == id);
            self.counters.lost += holds.map(|hold| hold.guards as u64).sum::<u64>();
        }
        let InFlight {
            batch, confirms, ..
        } = session.in_flight.unwrap_or_default();
        let Batch { releases, tries } = &*batch;
        let in_flight = releases.iter().cloned().zip(confirms);
        for (request, confirm) in session.releases.into_iter().chain(in_flight) {
            confirm.map(|confirm| confirm.send(false));
            if let Some(queue) = self.keys.get_mut(&request.key) {
                queue.releasing.retain(|session| *session != id);
            }
            keys.push(request.key);
        }
        let asked = session.tries.into_iter().chain(tries.iter().cloned());
        let asked = asked.chain(session.wait.map(|order| order.request));
        keys.extend(asked.map(|request| request.key));
        keys.extend(session.probes);
        let mine = [Ask::Try(Some(id)), Ask::Wait(id), Ask::Probe(id)];
        for key in &keys {
            if let Some(queue) = self.keys.get_mut(key)
                && queue.ask.is_some_and(|ask| mine.contains(&ask))
            {
                queue.ask = None;
            }
        }
        for inspection in session.inspections {
            inspection.refuse(error, Phase::Inspect);
        }
        if self.stillborn >= MAX_STILLBORN && self.sessions.is_empty() {
            self.stillborn = 0;
            self.refuse_everybody(error);
        }
        for key in keys {
            self.settle(&key, now);
        }
        lost
    }

    /// The address leads elsewhere, too: every session proves that its own server still answers.
    pub(crate) fn prove_all(&mut self) {
        for session in self.sessions.values_mut().filter(|session| session.ready) {
            session.must_prove = true;
            session.inbox.notify_one();
        }
    }

    /// No answer of this pool's sessions counts any more, by what this one has met. Returns the names
    /// of the locks that are lost; `None` when that session is not the pool's any more.
    pub(crate) fn refuse(
        &mut self,
        session: SessionId,
        error: &Error,
        now: Instant,
    ) -> Option<Vec<Key>> {
        if !self.sessions.contains_key(&session) && !self.pinned.contains_key(&session) {
            return None;
        }
        self.quarantine = Some((error.clone(), now + QUARANTINE));
        let error = SessionError::Refused(error.clone());
        self.refuse_everybody(&error);
        let mut sessions = Vec::new();
        for (id, session) in &mut self.sessions {
            for inspection in session.inspections.drain(..) {
                inspection.refuse(&error, Phase::Inspect);
            }
            sessions.push((*id, Arc::clone(&session.inbox)));
        }
        let mut lost = Vec::new();
        for (id, inbox) in sessions {
            lost.extend(self.session_lost(id, &error, now));
            // Its task finds no entry any more, and closes it.
            inbox.notify_one();
        }
        self.stillborn = 0;
        Some(lost)
    }

    /// The pool closes: this session ends instead of waiting on.
    pub(crate) fn wait_abandoned(
        &mut self,
        id: SessionId,
        now: Instant,
    ) -> Option<watch::Sender<Loss>> {
        if let Some(session) = self.sessions.remove(&id) {
            self.counters.sessions_closed += 1;
            debug_assert!(
                session.probes.is_empty(),
                "BUG: it waits in place of a sign of life"
            );
            if let Some(WaitOrder { request, .. }) = session.wait
                && let Some(queue) = self.keys.get_mut(&request.key)
            {
                queue.ask = None;
                self.settle(&request.key, now);
            }
        }
        self.abandoned.remove(&id)
    }

    /// Every guard is told that its lock is lost; the sessions themselves end when the guards are gone.
    pub(crate) fn abandon(&mut self) {
        self.begin_close();
        self.counters.lost += self.keys.values().map(|queue| queue.guards()).sum::<u64>();
        self.keys.clear();
        for (id, session) in std::mem::take(&mut self.sessions) {
            session.lost.send_replace(Some(LossCause::Session));
            session.inbox.notify_one();
            self.abandoned.insert(id, session.lost);
        }
    }
}
