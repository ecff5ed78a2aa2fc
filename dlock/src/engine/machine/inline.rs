//! Sessions without a server in between: what they do is done at once, by the thread that asks.

use super::Machine;
use super::event::{
    Answer, Command, GrantId, Inline, Lost, Reply, Request, SessionId, Step, Ticket,
};
use super::keys::{Ask, Dropped, HandOver};
use crate::key::PhysicalKey;

impl Machine {
    /// One try per key is on its way.
    pub(super) fn try_inline(
        &mut self,
        session: SessionId,
        key: &PhysicalKey,
        step: &mut Step<'_>,
    ) {
        let grant = GrantId(self.next_id());
        let entry = self.keys.entry(key);
        let Some(mode) = entry.wanted() else {
            return entry.set_ask(Ask::Nothing);
        };
        let request = Request {
            key: key.clone(),
            mode,
        };
        if let Some(session) = self.sessions.get_mut(session) {
            session.begin_run();
        }
        step.push(Command::Run(session, Inline::Try { grant, request }));
    }

    pub(super) fn tried_inline(
        &mut self,
        session: SessionId,
        grant: GrantId,
        request: &Request,
        answer: Answer,
        step: &mut Step<'_>,
    ) {
        self.has_run(session, step);
        let asked = self.keys.get(&request.key).map(|entry| entry.ask());
        if asked != Some(Ask::Try(Some(session))) {
            // The session has ended in between.
            if let Answer::Yes = answer {
                step.push(Command::Lose(Lost::unknown(grant, session)));
            }
            return;
        }
        self.keys.entry(&request.key).set_ask(Ask::Nothing);
        // Later callers were not asked for.
        let last = Ticket::last(grant.0);
        self.tried(session, grant, request, answer, Some(last), step);
        self.put_to_wait(step);
        self.open_for_demand(step);
    }

    /// A thread is done. That it was is a reply of the session.
    fn has_run(&mut self, id: SessionId, step: &mut Step<'_>) {
        if let Some(session) = self.sessions.replied(id, step.now) {
            session.end_run(step.now);
            self.wake_to_close(id, step);
        }
    }

    /// A session that holds less than before may close.
    fn wake_to_close(&self, id: SessionId, step: &mut Step<'_>) {
        if self.is_closing() {
            step.push(Command::Wake(id));
        }
    }

    /// It goes to the next waiter, if there is still one, or is given back.
    pub(super) fn proved(
        &mut self,
        grant: GrantId,
        key: &PhysicalKey,
        confirm: Option<Ticket>,
        is_held: bool,
        step: &mut Step<'_>,
    ) {
        let hand_over = match is_held {
            true => HandOver::Yes,
            false => HandOver::No,
        };
        let dropped = match self.keys.get_mut(key) {
            Some(entry) => entry.drop_guard(grant, |_| hand_over, step.now),
            None => Dropped::Unknown,
        };
        self.dropped(dropped, grant, key, confirm, step);
    }

    pub(super) fn returned(
        &mut self,
        session: SessionId,
        key: &PhysicalKey,
        confirm: Option<Ticket>,
        was_held: bool,
        step: &mut Step<'_>,
    ) {
        self.has_run(session, step);
        if let Some(ticket) = confirm {
            step.reply(ticket, Reply::Released(was_held));
        }
        self.counters.lost += u64::from(!was_held);
        if let Some(entry) = self.keys.get_mut(key) {
            entry.end_release(session);
            self.advance(key, step);
        }
        self.put_to_wait(step);
    }

    pub(super) fn grant_lost(&mut self, grant: GrantId, key: &PhysicalKey, step: &mut Step<'_>) {
        let entry = self.keys.get_mut(key);
        let Some(lost) = entry.and_then(|entry| entry.lose(grant)) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(lost.session) {
            session.has_lost();
        }
        self.wake_to_close(lost.session, step);
        self.counters.lost += lost.guards;
        step.push(Command::Lose(lost));
        self.advance(key, step);
    }
}
