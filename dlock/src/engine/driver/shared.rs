//! What is behind the mutex: the machine, and the receivers of its commands.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::callers::{Caller, Callers, LongWaits, Refusal};
use super::effects::{Effect, Effects};
use super::grant::{Grant, GrantCell, Loss, SessionCell};
use super::inline::{Handles, Ran};
use super::questions::Question;
use super::roster::Roster;
use super::task_end::OwnId;
use super::tasks::Tasks;
use crate::backend::InlineSession;
use crate::engine::machine::{
    Acquire, Command, Event, GrantId, Inspection, Job, Machine, Reply, SessionId, Settings, Ticket,
    Time, Traits,
};
use crate::error::{Error, HeldBy, LossCause};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

pub(super) struct Shared {
    pub(super) machine: Machine,
    pub(super) tasks: Tasks,
    pub(super) handles: Handles,
    pub(super) roster: Roster,
    callers: Callers,
    /// The grants of callers, with the number of their guards.
    grants: HashMap<GrantId, (Arc<GrantCell>, usize), RandomState>,
    asking: Asking,
    /// An empty list, for its room.
    room: Vec<Command>,
    /// The keeper sleeps until then.
    timer: Time,
    /// Counts requests.
    asked: u64,
}

/// The caller whose request is being handled: a reply that comes at once needs no channel.
enum Asking {
    Nothing,
    Lock(Ticket, Caller),
    Locked(Result<Arc<GrantCell>, Refusal>),
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
            handles: Handles::default(),
            roster: Roster::default(),
            callers: Callers::default(),
            grants: HashMap::default(),
            asking: Asking::Nothing,
            room: Vec::new(),
            timer: Time::MAX,
            asked: 0,
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
                Command::CloseSession(id) => self.tasks.close(id, effects),
                Command::Run(id, inline) => {
                    let run = self.handles.run(id, self.tasks.inline(id), inline);
                    run.map(|run| effects.run(run));
                }
                Command::Reply(ticket, reply) => self.reply(ticket, reply, effects),
                Command::Lose(grant) => self.lose(grant, LossCause::Session, effects),
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
            Reply::Busy => Refusal::Busy,
            Reply::Deadlock => Refusal::Deadlock,
            Reply::Failed(error) => match self.callers.take_question(ticket) {
                Some(question) => return question.refuse(&error),
                None => Refusal::Failed(error),
            },
            Reply::Released(was_held) => return self.confirm(ticket, was_held, effects),
            Reply::Met => {
                if let Some(Question::Meet(answer)) = self.callers.take_question(ticket) {
                    // The caller may be gone.
                    drop(answer.send(Ok(())));
                }
                return;
            }
            // The way to the reply is dropped.
            Reply::Restart => {
                drop((
                    self.callers.take(ticket),
                    self.callers.take_question(ticket),
                ));
                return;
            }
        };
        match &self.asking {
            Asking::Lock(asking, _) if *asking == ticket => {
                self.asking = Asking::Locked(Err(refusal));
            }
            _ => {
                if let Some((_, reply)) = self.callers.take(ticket) {
                    effects.push(Effect::Reply(reply, Err(refusal)));
                }
            }
        }
    }

    fn grant(&mut self, ticket: Ticket, id: GrantId, session: SessionId, effects: &mut Effects) {
        let asking = mem::replace(&mut self.asking, Asking::Nothing);
        let (caller, reply) = match asking {
            Asking::Lock(asking, caller) if asking == ticket => (caller, None),
            asking => {
                self.asking = asking;
                let Some((caller, reply)) = self.callers.take(ticket) else {
                    return;
                };
                (caller, Some(reply))
            }
        };
        let session = self.tasks.cell(session);
        let session = Arc::clone(session.expect("BUG: a session that grants is open"));
        let (cell, guards) = self.grants.entry(id).or_insert_with(|| {
            let Caller { name, key, .. } = caller;
            let loss = Loss::default();
            let cell = GrantCell {
                id,
                key,
                name,
                session,
                loss,
            };
            (Arc::new(cell), 0)
        });
        *guards += 1;
        let cell = Arc::clone(cell);
        match reply {
            Some(reply) => effects.push(Effect::Reply(reply, Ok(cell))),
            None => self.asking = Asking::Locked(Ok(cell)),
        }
    }

    fn confirm(&mut self, ticket: Ticket, was_held: bool, effects: &mut Effects) {
        match self.asking {
            Asking::Release(asking) if asking == ticket => {
                self.asking = Asking::Released(was_held);
            }
            _ => {
                if let Some(reply) = self.callers.take_confirm(ticket) {
                    effects.push(Effect::Confirm(reply, was_held));
                }
            }
        }
    }

    fn lose(&mut self, grant: GrantId, cause: LossCause, effects: &mut Effects) {
        if let Some(hold) = self.handles.lose(grant) {
            effects.push(Effect::Drop(hold));
        }
        // One that is proved for the next caller has no guard.
        if let Some((cell, _)) = self.grants.remove(&grant) {
            cell.loss.set(cause);
            effects.push(Effect::TellLoss(cell));
        }
    }

    /// A request for a lock. An error means that it is not answered yet.
    pub(super) fn acquire(
        &mut self,
        caller: Caller,
        deadline: Option<Time>,
        one_try: bool,
        now: Time,
        effects: &mut Effects,
    ) -> Result<Result<Arc<GrantCell>, Refusal>, Pending> {
        self.asked += 1;
        let ticket = self.machine.ticket();
        let request = Acquire {
            ticket,
            key: caller.key.clone(),
            mode: caller.mode,
            deadline,
            one_try,
        };
        self.asking = Asking::Lock(ticket, caller);
        self.handle(Event::Acquire(request), now, effects);
        match mem::replace(&mut self.asking, Asking::Nothing) {
            Asking::Locked(answer) => Ok(answer),
            Asking::Lock(ticket, caller) => {
                let (reply, answer) = oneshot::channel();
                self.callers.wait(ticket, caller, reply);
                Err((ticket, answer))
            }
            Asking::Nothing | Asking::Release(_) | Asking::Released(_) => {
                Ok(Err(Refusal::Failed(Error::PoolClosed)))
            }
        }
    }

    /// The caller waits no longer. Does nothing if it was answered.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Time, effects: &mut Effects) {
        if let Some((Caller { key, .. }, _)) = self.callers.take(ticket) {
            self.handle(Event::Cancel { ticket, key }, now, effects);
        }
    }

    /// A guard is gone.
    pub(super) fn release(&mut self, cell: &GrantCell, now: Time, effects: &mut Effects) {
        self.give_back(cell, None, now, effects);
    }

    /// A guard is gone, and its caller wants to know whether the lock was held until then. An error
    /// means that this is not known yet.
    pub(super) fn release_confirmed(
        &mut self,
        cell: &GrantCell,
        now: Time,
        effects: &mut Effects,
    ) -> Result<bool, oneshot::Receiver<bool>> {
        let ticket = self.machine.ticket();
        self.asking = Asking::Release(ticket);
        self.give_back(cell, Some(ticket), now, effects);
        match mem::replace(&mut self.asking, Asking::Nothing) {
            Asking::Released(was_held) => Ok(was_held),
            _ => {
                let (reply, answer) = oneshot::channel();
                self.callers.confirm(ticket, reply);
                Err(answer)
            }
        }
    }

    fn give_back(
        &mut self,
        cell: &GrantCell,
        confirm: Option<Ticket>,
        now: Time,
        effects: &mut Effects,
    ) {
        self.asked += 1;
        let (grant, key) = (cell.id, cell.key.clone());
        if let Some((_, guards)) = self.grants.get_mut(&grant) {
            *guards -= 1;
            if *guards == 0 {
                // The next holder of this grant has a cell of its own.
                self.grants.remove(&grant);
            }
        }
        let release = Event::Release {
            grant,
            key,
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
        let ticket = self.machine.ticket();
        self.callers.ask(ticket, question);
        self.handle(event(ticket), now, effects);
        ticket
    }

    /// The caller waits no longer for an answer to its question.
    pub(super) fn leave(&mut self, ticket: Ticket, now: Time, effects: &mut Effects) {
        if self.callers.take_question(ticket).is_some() {
            self.handle(Event::Leave(ticket), now, effects);
        }
    }

    /// The question of this ticket, and the keys that are known here.
    pub(super) fn take_question(&mut self, ticket: Ticket) -> (Option<Question>, Vec<PhysicalKey>) {
        let question = self.callers.take_question(ticket);
        let known = match question {
            Some(Question::Locks(_)) => self.names().into_keys().collect(),
            _ => Vec::new(),
        };
        (question, known)
    }

    /// The session has ended that was to answer these.
    pub(super) fn refuse_questions(
        &mut self,
        inspections: impl Iterator<Item = Inspection>,
        error: &Error,
    ) {
        for inspection in inspections {
            if let Inspection::Question(ticket) = inspection
                && let Some(question) = self.callers.take_question(ticket)
            {
                question.refuse(error);
            }
        }
    }

    /// What the keys that are held or waited for are called here.
    pub(super) fn names(&self) -> HashMap<PhysicalKey, Key> {
        let waited = self
            .callers
            .iter()
            .map(|caller| (&caller.key, &caller.name));
        let held = self
            .grants
            .values()
            .map(|(cell, _)| (&cell.key, &cell.name));
        let names = self.roster.names().chain(waited).chain(held);
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
        if let Some((session, grant, key, hold)) = ran.taken {
            self.handles.insert(session, grant, key, hold);
        }
        self.handle(ran.event, now, effects);
    }

    /// All tasks of this epoch were dropped with their runtime.
    pub(super) fn runtime_ended(&mut self, epoch: u64, now: Time, effects: &mut Effects) {
        if !self.tasks.runtime_ended(epoch) {
            return;
        }
        let before = self.machine.counters().lost;
        for (_, (cell, _)) in self.grants.drain() {
            cell.loss.set(LossCause::Runtime);
            effects.push(Effect::TellLoss(cell));
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

    /// The machine has panicked: every guard reports its loss, and no caller waits any more.
    pub(super) fn break_down(&mut self, effects: &mut Effects) {
        for (_, (cell, _)) in self.grants.drain() {
            cell.loss.set(LossCause::Session);
            effects.push(Effect::TellLoss(cell));
        }
        self.callers.clear();
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
        after: Option<Ticket>,
        now: tokio::time::Instant,
        warn: impl FnMut(&Caller),
    ) -> LongWaits {
        self.callers.long_waits(after, now, warn)
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// No session is left and none will be opened.
    pub(super) fn is_drained(&self) -> bool {
        self.machine.is_drained() && self.tasks.is_over()
    }
}
