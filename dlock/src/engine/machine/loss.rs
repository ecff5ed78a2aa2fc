//! How sessions end, and what becomes of what they held and were asked.

use super::event::{Command, Error, Reply, SessionId, Step};
use super::{Machine, Phase, QUARANTINE};

impl Machine {
    /// A session has ended, and its locks with it. What was asked of it is asked anew. When one
    /// after the other dies before its first reply, that is an error, so that this does not go on
    /// forever.
    pub(super) fn session_lost(&mut self, id: SessionId, error: &Error, step: &mut Step<'_>) {
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        self.counters.sessions_lost += 1;
        let gives_up = session.is_stillborn() && self.sessions.note_stillborn(step.now);
        let keys = self.keys.of_session(id);
        for key in &keys {
            for lost in self.keys.entry(key).forget_session(id) {
                self.counters.lost += lost.guards;
                step.push(Command::Lose(lost));
            }
        }
        for inspection in session.take_inspections() {
            let reply = |ticket| Command::Reply(ticket, Reply::Failed(error.clone().into()));
            step.extend(inspection.ticket().map(reply));
        }
        let lost = |ticket| Command::Reply(ticket, Reply::Released(false));
        step.extend(session.into_confirms().into_iter().map(lost));
        if gives_up {
            self.refuse_all(error, step);
        }
        if is_planted!(self, ForgetRequeueAfterLoss) {
            return;
        }
        for key in keys {
            self.advance(&key, step);
        }
    }

    /// The address leads elsewhere, too: every session proves that its own server still answers.
    pub(super) fn prove_all(&mut self, step: &mut Step<'_>) {
        for (id, session) in self
            .sessions
            .iter_mut()
            .filter(|(_, session)| session.is_up())
        {
            session.must_prove();
            step.push(Command::Wake(id));
        }
    }

    /// No answer of the pool's sessions counts any more, by what this session has met.
    pub(super) fn refused(&mut self, by: Option<SessionId>, error: &Error, step: &mut Step<'_>) {
        if by.is_some_and(|id| self.sessions.get(id).is_none()) {
            return;
        }
        if !self.is_closing() {
            self.phase = Phase::Quarantine(error.clone(), step.now + QUARANTINE);
        }
        self.refuse_all(error, step);
        let sessions: Vec<_> = self.sessions.ids().collect();
        for id in sessions {
            self.session_lost(id, error, step);
            step.push(Command::CloseSession(id, None));
        }
        self.sessions.forgive_stillborn();
    }
}
