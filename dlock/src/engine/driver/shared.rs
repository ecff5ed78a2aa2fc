//! What is behind the mutex: the machine, and the receivers of its commands.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::callers::{Caller, Callers, LongWaits, Refusal, Request};
use super::effects::{Effect, Effects};
use super::grant::{Grant, Granted, SessionCell};
use super::inline_locks::InlineLocks;
use super::questions::Question;
use super::roster::Roster;
use super::run::Ran;
use super::task_end::OwnId;
use super::tasks::Tasks;
use crate::backend::InlineSession;
use crate::engine::machine::{
    Acquire, Command, Event, GrantId, Job, Lost, Machine, Reply, SessionId, Settings, Ticket, Time,
    Traits,
};
use crate::error::{HeldBy, LossCause};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

pub(super) struct Shared {
    pub(super) machine: Machine,
    pub(super) tasks: Tasks,
    pub(super) inline_locks: InlineLocks,
    pub(super) roster: Roster,
    callers: Callers,
    asking: Asking,
    /// An empty list, for its room.
    room: Vec<Command>,
    /// The keeper sleeps until then.
    timer: Time,
}

/// The [caller](Caller::Asking) whose request is being handled, and its reply.
enum Asking {
    Nothing,
    Lock(Ticket, PhysicalKey),
    Locked(Result<Granted, Refusal>),
    Release(Ticket),
    Released(bool),
}

/// A request that is not answered yet.
pub(super) type Pending = (Ticket, oneshot::Receiver<Result<Grant, Refusal>>);

impl Shared {
    pub(super) fn new(settings: Settings, runtime: Option<Handle>) -> Self {
        Self {
            machine: Machine::new(settings, fastrand::u64(..)),
            tasks: Tasks::new(runtime),
            inline_locks: InlineLocks::default(),
            roster: Roster::default(),
            callers: Callers::default(),
            asking: Asking::Nothing,
            room: Vec::new(),
            timer: Time::MAX,
        }
    }

    /// The event changes the machine, and its commands become effects.
    pub(super) fn handle(&mut self, event: Event, now: Time, effects: &mut Effects) {
        let mut commands = mem::take(&mut self.room);
        self.machine.handle(event, now, &mut commands);
        self.resolve(commands, now, effects);
    }

    /// What this session does next.
    pub(super) fn next(&mut self, id: SessionId, now: Time, effects: &mut Effects) -> Job {
        let mut commands = mem::take(&mut self.room);
        let job = self.machine.next(id, now, &mut commands);
        self.resolve(commands, now, effects);
        job
    }

    fn resolve(&mut self, mut commands: Vec<Command>, now: Time, effects: &mut Effects) {
        let mut unopened = Vec::new();
        for command in commands.drain(..) {
            match command {
                Command::Open(id) => {
                    if let Err(error) = self.tasks.open(id, effects) {
                        unopened.push((id, error));
                    }
                }
                Command::Wake(id) => self.tasks.wake(id, effects),
                Command::StopWait(id) => self.tasks.stop_wait(id, effects),
                Command::CloseSession(id, doubt) => {
                    if let (Some(error), Some(cell)) = (doubt, self.tasks.cell(id)) {
                        effects.push(Effect::LogDoubt(error, cell.number()));
                    }
                    self.tasks.close(id, effects);
                }
                Command::Run(id, inline) => {
                    let run = self.inline_locks.run(id, self.tasks.inline(id), inline);
                    if let Some(run) = run {
                        effects.run(run);
                    }
                }
                Command::Reply(ticket, reply) => self.reply(ticket, reply, effects),
                Command::Lose(lost) => self.lose(lost, effects),
            }
        }
        self.room = commands;
        for (session, error) in unopened {
            self.handle(Event::OpenFailed { session, error }, now, effects);
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply, effects: &mut Effects) {
        let refusal = match reply {
            Reply::Granted { grant, session } => {
                return self.grant(ticket, grant, session, effects);
            }
            Reply::Released(was_held) => return self.confirm(ticket, was_held, effects),
            Reply::Met => {
                if let Some(Caller::Question(question)) = self.callers.take(ticket) {
                    effects.push(Effect::Answer(Box::new(question), Ok(())));
                }
                return;
            }
            // The way to the reply is dropped.
            Reply::Restart => return self.forget(ticket, effects),
            Reply::Busy => Refusal::Busy,
            Reply::Deadlock => Refusal::Deadlock,
            Reply::Failed(error) => Refusal::Failed(error),
        };
        if let Asking::Lock(asking, _) = &self.asking
            && *asking == ticket
        {
            self.asking = Asking::Locked(Err(refusal));
            return;
        }
        match (self.callers.take(ticket), refusal) {
            (Some(Caller::Lock(_, reply)), refusal) => {
                effects.push(Effect::Refuse(reply, refusal));
            }
            (Some(Caller::Question(question)), Refusal::Failed(error)) => {
                effects.push(Effect::Answer(Box::new(question), Err(error)));
            }
            _ => {}
        }
    }

    fn forget(&mut self, ticket: Ticket, effects: &mut Effects) {
        let caller = self.callers.take(ticket);
        effects.extend(caller.map(|caller| Effect::Forget(Box::new(caller))));
    }

    fn grant(&mut self, ticket: Ticket, id: GrantId, session: SessionId, effects: &mut Effects) {
        let cell = self.tasks.cell(session);
        let cell = cell.expect("BUG: a session that grants is open");
        let session = match self.inline_locks.get(id) {
            Some(lock) => cell.of_one_lock(Arc::clone(&lock.loss)),
            None => Arc::clone(cell),
        };
        let granted = |key| Granted { id, key, session };
        if let Asking::Lock(asking, key) = &self.asking
            && *asking == ticket
        {
            self.asking = Asking::Locked(Ok(granted(key.clone())));
        } else if let Some(Caller::Lock(request, reply)) = self.callers.take(ticket) {
            effects.push(Effect::Grant(reply, granted(request.key)));
        }
    }

    fn confirm(&mut self, ticket: Ticket, was_held: bool, effects: &mut Effects) {
        if let Asking::Release(asking) = self.asking
            && asking == ticket
        {
            self.asking = Asking::Released(was_held);
        } else if let Some(Caller::Release(reply)) = self.callers.take(ticket) {
            effects.push(Effect::Confirm(reply, was_held));
        }
    }

    fn lose(&mut self, lost: Lost, effects: &mut Effects) {
        let Lost {
            grant,
            session,
            name,
            ..
        } = lost;
        let cell = self.tasks.cell(session);
        let number = cell.map(|cell| cell.number());
        if let Some(lock) = self.inline_locks.lose(grant) {
            effects.lose(&lock.loss, LossCause::Session);
            effects.push(Effect::Close(lock));
        } else if let Some(cell) = cell {
            effects.lose(cell.loss(), LossCause::Session);
        }
        // With its runtime, a session has gone before, and all losses are one line.
        if let (Some(name), Some(number)) = (name, number) {
            effects.push(Effect::LogLoss(name, number));
        }
    }

    /// A request for a lock. An error means that it is not answered yet.
    pub(super) fn acquire(
        &mut self,
        name: &Key,
        request: Request,
        wait: Wait,
        began: Instant,
        now: Time,
        effects: &mut Effects,
    ) -> Result<Result<Granted, Refusal>, Pending> {
        let ticket = self.callers.begin(|slot| self.machine.ticket(slot));
        let deadline = wait.deadline;
        let acquire = Acquire {
            ticket,
            key: request.key.clone(),
            name: name.clone(),
            mode: request.mode,
            deadline: deadline.map(|deadline| deadline.saturating_duration_since(began)),
            one_try: wait.one_try,
        };
        self.asking = Asking::Lock(ticket, request.key.clone());
        self.handle(Event::Acquire(acquire), now, effects);
        match mem::replace(&mut self.asking, Asking::Nothing) {
            Asking::Locked(answer) => {
                self.callers.take(ticket);
                Ok(answer)
            }
            _ => {
                let (reply, answer) = oneshot::channel();
                self.callers.wait(ticket, Caller::Lock(request, reply));
                Err((ticket, answer))
            }
        }
    }

    /// The caller waits no longer. Does nothing if it was answered.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Time, effects: &mut Effects) {
        if let Some(Caller::Lock(Request { key, .. }, _)) = self.callers.take(ticket) {
            self.handle(Event::Cancel { ticket, key }, now, effects);
        }
    }

    /// A guard is gone.
    pub(super) fn release(&mut self, granted: &Granted, now: Time, effects: &mut Effects) {
        self.give_back(granted, None, now, effects);
    }

    /// A guard is gone, and its caller wants to know whether the lock was held until then. An error
    /// means that this is not known yet.
    pub(super) fn release_confirmed(
        &mut self,
        granted: &Granted,
        now: Time,
        effects: &mut Effects,
    ) -> Result<bool, oneshot::Receiver<bool>> {
        let ticket = self.callers.begin(|slot| self.machine.ticket(slot));
        self.asking = Asking::Release(ticket);
        self.give_back(granted, Some(ticket), now, effects);
        match mem::replace(&mut self.asking, Asking::Nothing) {
            Asking::Released(was_held) => {
                self.callers.take(ticket);
                Ok(was_held)
            }
            _ => {
                let (reply, answer) = oneshot::channel();
                self.callers.wait(ticket, Caller::Release(reply));
                Err(answer)
            }
        }
    }

    fn give_back(
        &mut self,
        granted: &Granted,
        confirm: Option<Ticket>,
        now: Time,
        effects: &mut Effects,
    ) {
        let release = Event::Release {
            grant: granted.id,
            key: granted.key.clone(),
            confirm,
        };
        self.handle(release, now, effects);
    }

    /// A question of a caller.
    pub(super) fn ask(
        &mut self,
        question: Question,
        event: fn(Ticket) -> Event,
        now: Time,
        effects: &mut Effects,
    ) -> Ticket {
        let ticket = self.callers.begin(|slot| self.machine.ticket(slot));
        self.callers.wait(ticket, Caller::Question(question));
        self.handle(event(ticket), now, effects);
        ticket
    }

    /// The caller waits no longer for an answer to its question.
    pub(super) fn withdraw(&mut self, ticket: Ticket, now: Time, effects: &mut Effects) {
        if self.callers.take(ticket).is_some() {
            self.handle(Event::Leave(ticket), now, effects);
        }
    }

    /// The question of this ticket, unless its caller is gone.
    pub(super) fn take_question(&mut self, ticket: Ticket) -> Option<Question> {
        match self.callers.take(ticket)? {
            Caller::Question(question) => Some(question),
            Caller::Lock(..) | Caller::Release(_) | Caller::Asking => None,
        }
    }

    /// What the keys that are held or waited for are called here.
    pub(super) fn names(&self) -> HashMap<PhysicalKey, Key> {
        let names = self.roster.names().chain(self.machine.names());
        names
            .map(|(key, name)| (key.clone(), name.clone()))
            .collect()
    }

    /// The holder that keeps a request of this mode waiting, as far as it is known.
    pub(super) fn held_by(&self, key: &PhysicalKey, mode: Mode, now: Time) -> Option<HeldBy> {
        let own = self.roster.held_by(key, mode);
        own.or_else(|| self.machine.held_by(key, mode, now))
    }

    /// A session is open.
    pub(super) fn opened(
        &mut self,
        session: SessionId,
        traits: Traits,
        cell: Arc<SessionCell>,
        inline: Option<Arc<dyn InlineSession>>,
        now: Time,
        effects: &mut Effects,
    ) {
        self.tasks.opened(session, cell, inline);
        self.handle(Event::SessionUp { session, traits }, now, effects);
    }

    /// A thread has done something for an inline session.
    pub(super) fn ran(&mut self, ran: Ran, now: Time, effects: &mut Effects) {
        if let Some(taken) = ran.taken {
            match self.tasks.has(taken.session) {
                true => self.inline_locks.insert(taken),
                // Its session has ended in between.
                false => effects.push(Effect::Drop(taken.hold)),
            }
        }
        self.handle(ran.event, now, effects);
    }

    /// All tasks of this epoch were dropped with their runtime.
    pub(super) fn runtime_ended(&mut self, epoch: u64, now: Time, effects: &mut Effects) {
        if !self.tasks.is_epoch(epoch) {
            return;
        }
        let before = self.machine.counters().lost;
        self.tasks.lose_all(LossCause::Runtime, effects);
        self.tasks.end_epoch();
        for lock in self.inline_locks.take_all() {
            effects.lose(&lock.loss, LossCause::Runtime);
            effects.push(Effect::Close(lock));
        }
        self.handle(Event::RuntimeEnded, now, effects);
        let lost = self.roster.lose_all();
        self.machine.count(|counters| counters.lost += lost);
        let lost = self.machine.counters().lost - before;
        if lost > 0 {
            effects.push(Effect::LogRuntimeLoss(lost));
        }
        self.timer = Time::MAX;
    }

    /// The task of a session of one lock has ended; `cause`: before its time.
    pub(super) fn end_own(&mut self, id: OwnId, cause: Option<LossCause>) {
        let Self {
            machine, roster, ..
        } = self;
        machine.count(|counters| roster.end(id, cause, counters));
    }

    /// The guards that are left lose their locks. Those of inline sessions stay taken until the
    /// session ends, so that guards have a while to notice.
    pub(super) fn abandon(&mut self, now: Time, effects: &mut Effects) {
        self.abandon_inline_locks(effects);
        self.handle(Event::Abandon, now, effects);
    }

    fn abandon_inline_locks(&mut self, effects: &mut Effects) {
        for loss in self.inline_locks.abandon() {
            effects.lose(loss, LossCause::Session);
        }
    }

    /// The machine has panicked: every guard reports its loss, and no caller waits any more.
    pub(super) fn break_down(&mut self, effects: &mut Effects) {
        self.tasks.lose_all(LossCause::Session, effects);
        self.abandon_inline_locks(effects);
        let callers = self.callers.drain();
        effects.extend(callers.map(|caller| Effect::Forget(Box::new(caller))));
        self.asking = Asking::Nothing;
        self.tasks.close_all(effects);
        self.machine.reset();
    }

    /// When the keeper is to look next. Wakes it if that is earlier than it planned.
    pub(super) fn set_timer(&mut self, effects: &mut Effects) {
        if let Some(next) = self.machine.next_timer()
            && next < self.timer
        {
            self.timer = next;
            effects.wake_keeper();
        }
    }

    /// The keeper sleeps until then, or until it is woken.
    pub(super) fn plan(&mut self) -> Time {
        self.timer = self.machine.next_timer().unwrap_or(Time::MAX);
        self.timer
    }

    pub(super) fn long_waits(
        &mut self,
        from: usize,
        now: Instant,
        warn: impl FnMut(&Request),
    ) -> LongWaits {
        self.callers.long_waits(from, now, warn)
    }

    /// No session is left and none will be opened.
    pub(super) fn is_drained(&self) -> bool {
        self.machine.is_drained() && self.tasks.is_over()
    }
}
