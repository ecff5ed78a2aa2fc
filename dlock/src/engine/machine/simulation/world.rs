//! Processes and a server in virtual time, and what must be true of them after every event.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use sea_orm::DbErr;

use super::Bug;
use super::client::{Habits, State};
use super::process::{Caller, Guards, Handle, Process, Task};
use super::server::{Backend, Server};
use crate::engine::machine::event::{
    Answer, Answers, Command, Error, Event, GrantId, Inline, Inspection, Job, Reply, SessionId,
    Ticket, Time,
};
use crate::engine::machine::keys::TENURE;
use crate::error::Phase;
use crate::key::PhysicalKey;

/// How often it is looked for callers that wait for a free key.
const WATCH: Duration = Duration::from_secs(1);

/// So many looks in a row may find that a caller waits for a free key: a process that met faults
/// opens no session for a second, and retries are a quarter of a second apart.
const STARVED: u32 = 8;

/// After the callers have stopped everything is over by then.
const END: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub(super) struct World {
    rng: Rng,
    habits: Habits,
    faults: Faults,
    bug: Option<Bug>,
    now: Time,
    planned: u64,
    plan: BTreeMap<(Time, u64), Happening>,
    server: Server,
    waits: BTreeMap<Backend, Wait>,
    processes: Vec<Process>,
    /// When the callers were told to ask for nothing more.
    stopped_at: Option<Time>,
    /// Of all that has happened.
    fingerprint: u64,
    seen: Seen,
}

/// How often which case has occurred.
pub(super) type Seen = BTreeMap<&'static str, u64>;

/// A job of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Assignment {
    process: usize,
    epoch: u64,
    session: SessionId,
    job: u64,
}

/// A wait on the server.
#[derive(Debug, Clone)]
struct Wait {
    job: Assignment,
    key: PhysicalKey,
    /// The grant that an inline session will have, on a handle of its own.
    handle: Option<GrantId>,
}

#[derive(Debug)]
enum Happening {
    /// What a client has planned for this step.
    Client {
        process: usize,
        client: usize,
        step: u64,
    },
    Opened {
        process: usize,
        epoch: u64,
        session: SessionId,
    },
    /// A statement takes effect on the server.
    Executed(Assignment, Backend, Job),
    SliceEnds(Assignment, Backend),
    Replied(Assignment, Response),
    /// A thread has carried out a command of an inline session.
    Ran(usize, SessionId, Inline),
    /// A task that slept until now.
    Awake(Assignment),
    /// A task finds out that its session has ended.
    LossSeen {
        process: usize,
        epoch: u64,
        session: SessionId,
    },
    /// A session ends on the server.
    Ends(Backend),
    Timer(usize),
    Fault,
    Watch,
}

#[derive(Debug)]
enum Response {
    Answers(Answers),
    Waited(Option<Answer>),
    Pong,
    Inspected(Vec<Inspection>),
}

/// How often what goes wrong.
#[derive(Debug)]
struct Faults {
    /// Between two faults; none at all without.
    every: Option<Duration>,
    /// Of connections.
    refused: f64,
    /// Of answers.
    lost: f64,
    /// Longest time that a statement or an answer travels.
    latency: Duration,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let processes = rng.usize(1..9);
        let every = Duration::from_millis(rng.u64(20..5000));
        let faults = Faults {
            every: (rng.u32(0..4) > 0).then_some(every),
            refused: [0.0, 0.1, 0.5][rng.usize(0..3)],
            lost: [0.0, 0.001, 0.02][rng.usize(0..3)],
            latency: Duration::from_micros([200, 2000, 20_000][rng.usize(0..3)]),
        };
        let mut world = Self {
            habits: Habits::of(&mut rng),
            faults,
            bug,
            now: Time::ZERO,
            planned: 0,
            plan: BTreeMap::new(),
            server: Server::default(),
            waits: BTreeMap::new(),
            processes: (0..processes)
                .map(|_| Process::new(bug, &mut rng))
                .collect(),
            stopped_at: None,
            fingerprint: seed,
            seen: Seen::new(),
            rng,
        };
        for process in 0..processes {
            for client in 0..world.processes[process].clients.len() {
                world.plan_client(process, client, Duration::ZERO);
            }
        }
        world.after(WATCH, Happening::Watch);
        if let Some(every) = world.faults.every {
            world.after(every, Happening::Fault);
        }
        world
    }

    /// At least so many events, and then to the end. Returns what has occurred.
    ///
    /// # Panics
    ///
    /// When a promise is broken.
    pub(super) fn run(&mut self, events: u64) -> &Seen {
        let mut count = 0;
        while !self.is_over() {
            let Some(((at, number), happening)) = self.plan.pop_first() else {
                panic!("nothing will ever happen again");
            };
            self.now = at;
            self.fingerprint = (self.fingerprint ^ number ^ at.subsec_nanos() as u64)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(5);
            self.happen(happening);
            self.check();
            count += 1;
            if count == events {
                self.stop();
            }
            assert!(count < 100 * events, "it goes on and on");
        }
        self.count_handovers();
        self.seen.insert("event", count);
        &self.seen
    }

    /// Two runs that differ anywhere have different traces.
    pub(super) fn trace(&self) -> u64 {
        self.fingerprint
    }

    fn see(&mut self, case: &'static str) {
        *self.seen.entry(case).or_default() += 1;
    }

    fn count_handovers(&mut self) {
        let counters = self
            .processes
            .iter()
            .map(|process| process.machine.counters.handoffs);
        *self.seen.entry("handed over").or_default() += counters.sum::<u64>();
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.planned += 1;
        self.plan
            .insert((self.now + delay, self.planned), happening);
    }

    fn latency(&mut self) -> Duration {
        self.faults.latency.mul_f64(self.rng.f64())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Client {
                process,
                client,
                step,
            } => {
                if self.processes[process].clients[client].step == step {
                    self.act(process, client);
                }
            }
            Happening::Opened {
                process,
                epoch,
                session,
            } => self.opened(process, epoch, session),
            Happening::Executed(job, backend, work) => self.execute(job, backend, work),
            Happening::SliceEnds(job, backend) => {
                let is_same = self.waits.get(&backend).is_some_and(|wait| wait.job == job);
                if is_same && self.server.stop_wait(backend) {
                    self.wait_ends(backend, Some(Answer::No));
                }
            }
            Happening::Replied(job, response) => self.replied(job, response),
            Happening::Ran(process, session, inline) => self.ran(process, session, inline),
            Happening::Awake(job) => {
                if self.task(job).is_some_and(|task| task.is_idle) {
                    self.next(job.process, job.session);
                }
            }
            Happening::LossSeen {
                process,
                epoch,
                session,
            } => {
                if self.processes[process].epoch == epoch
                    && self.end_task(process, session).is_some()
                {
                    let error = ended();
                    self.handle(process, Event::SessionLost { session, error });
                }
            }
            Happening::Ends(backend) => self.end(backend),
            Happening::Timer(process) => {
                if self.processes[process]
                    .timer
                    .is_some_and(|timer| timer <= self.now)
                {
                    self.processes[process].timer = None;
                    self.handle(process, Event::Tick);
                }
            }
            Happening::Fault => self.fault(),
            Happening::Watch => {
                self.watch();
                self.after(WATCH, Happening::Watch);
            }
        }
    }

    // Callers.

    fn plan_client(&mut self, process: usize, client: usize, delay: Duration) {
        let step = self.processes[process].clients[client].step;
        let happening = Happening::Client {
            process,
            client,
            step,
        };
        self.after(delay, happening);
    }

    fn think(&mut self, process: usize, client: usize) {
        let state = match self.stopped_at.is_some() {
            true => State::Stopped,
            false => State::Thinking,
        };
        self.processes[process].clients[client].enter(state);
        if self.stopped_at.is_none() {
            let pause = self.habits.pause(&mut self.rng);
            self.plan_client(process, client, pause);
        }
    }

    fn act(&mut self, process: usize, client: usize) {
        match self.processes[process].clients[client].state.clone() {
            State::Thinking => {
                let ticket = self.processes[process].machine.ticket();
                let (request, gives_up) = self.habits.request(ticket, self.now, &mut self.rng);
                self.call(process, ticket, Caller::Client(client));
                self.processes[process].clients[client].enter(State::Waiting(request.clone()));
                if let Some(at) = gives_up {
                    self.plan_client(process, client, at.saturating_sub(self.now));
                }
                self.handle(process, Event::Acquire(request));
            }
            State::Waiting(request) => {
                self.see("wait given up");
                let ticket = request.ticket;
                self.processes[process].callers.remove(&ticket);
                self.think(process, client);
                let key = request.key;
                self.handle(process, Event::Cancel { ticket, key });
            }
            State::Holding(grant, key) => {
                let is_confirmed = self.rng.bool();
                let confirm = is_confirmed.then(|| {
                    let ticket = self.processes[process].machine.ticket();
                    self.call(process, ticket, Caller::Release);
                    ticket
                });
                let guards = &mut self.processes[process].guards;
                if let Some(held) = guards.get_mut(&grant) {
                    held.count -= 1;
                    if held.count == 0 {
                        guards.remove(&grant);
                    }
                }
                self.think(process, client);
                let event = Event::Release {
                    grant,
                    key,
                    confirm,
                };
                self.handle(process, event);
            }
            State::Stopped => {}
        }
    }

    fn call(&mut self, process: usize, ticket: Ticket, caller: Caller) {
        self.processes[process].callers.insert(ticket, caller);
    }

    fn reply(&mut self, process: usize, ticket: Ticket, reply: Reply) {
        let caller = self.processes[process].callers.remove(&ticket);
        let caller = caller.unwrap_or_else(|| panic!("a caller that is gone gets {reply:?}"));
        let Caller::Client(client) = caller else {
            return match (caller, reply) {
                (Caller::Release, Reply::Released(true)) => self.see("released"),
                (Caller::Release, Reply::Released(false)) => self.see("released too late"),
                (Caller::Meeting, Reply::Met) => self.see("met"),
                (Caller::Meeting | Caller::Inspection, Reply::Failed(_) | Reply::Restart) => {}
                (caller, reply) => panic!("{caller:?} gets {reply:?}"),
            };
        };
        let state = self.processes[process].clients[client].state.clone();
        let State::Waiting(request) = state else {
            panic!("a client in {state:?} gets {reply:?}");
        };
        match reply {
            Reply::Granted { grant, session } => {
                self.see(match self.processes[process].traits.is_inline {
                    true => "granted inline",
                    false => "granted",
                });
                let process_ = &mut self.processes[process];
                let task = process_.tasks.get(&session);
                let task = task.expect("a grant has a session");
                let (backend, is_proved) = match process_.handles.get(&grant) {
                    Some(handle) => (handle.backend, self.server.is_alive(handle.backend)),
                    None => {
                        let age = self.now.saturating_sub(task.last_reply);
                        let backend = task.backend.expect("a grant has an open session");
                        (backend, age <= TENURE)
                    }
                };
                assert!(is_proved, "granted unproved");
                let guards = &mut process_.guards;
                let held = guards.entry(grant).or_insert_with(|| Guards {
                    key: request.key.clone(),
                    mode: request.mode,
                    backend,
                    count: 0,
                    is_lost: false,
                });
                held.count += 1;
                assert!(!held.is_lost, "a lost lock is granted");
                assert_eq!((&held.key, held.mode), (&request.key, request.mode));
                assert!(
                    held.count == 1 || held.mode.is_shareable(),
                    "one exclusive guard"
                );
                self.processes[process].clients[client].enter(State::Holding(grant, request.key));
                let hold = self.habits.hold(&mut self.rng);
                self.plan_client(process, client, hold);
            }
            Reply::Busy => {
                self.see("busy");
                assert!(
                    request.one_try,
                    "a caller that waits is told that the key is busy"
                );
                self.think(process, client);
            }
            Reply::Failed(error) => {
                assert!(!matches!(error, Error::Timeout { .. }), "{error}");
                self.see("failed");
                self.think(process, client);
            }
            Reply::Restart => {
                self.see("begun anew");
                self.think(process, client);
            }
            Reply::Deadlock | Reply::Released(_) | Reply::Met => panic!("a client gets {reply:?}"),
        }
    }

    // Tasks.

    fn task(&mut self, job: Assignment) -> Option<&mut Task> {
        let process = &mut self.processes[job.process];
        let task = process.tasks.get_mut(&job.session);
        task.filter(|task| process.epoch == job.epoch && task.job == job.job)
    }

    fn handle(&mut self, process: usize, event: Event) {
        let mut commands = Vec::new();
        let machine = &mut self.processes[process].machine;
        machine.handle(event, self.now, &mut commands);
        machine.check_invariants();
        self.carry_out(process, commands);
    }

    fn carry_out(&mut self, process: usize, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Open(session) => {
                    let task = Task {
                        backend: None,
                        is_idle: false,
                        job: 0,
                        last_reply: self.now,
                        inspecting: Vec::new(),
                    };
                    self.processes[process].tasks.insert(session, task);
                    let epoch = self.processes[process].epoch;
                    let delay = self.latency() * 4;
                    let opened = Happening::Opened {
                        process,
                        epoch,
                        session,
                    };
                    self.after(delay, opened);
                }
                Command::Wake(session) => {
                    let task = self.processes[process].tasks.get(&session);
                    if task.is_some_and(|task| task.is_idle) {
                        let job = self.job(process, session);
                        self.after(Duration::ZERO, Happening::Awake(job));
                    }
                }
                Command::Run(session, inline) => {
                    if let Inline::Prove { .. } = inline {
                        self.see("proved inline");
                    }
                    self.processes[process].running += 1;
                    let delay = match self.rng.bool() {
                        true => Duration::ZERO,
                        false => self.latency(),
                    };
                    self.after(delay, Happening::Ran(process, session, inline));
                }
                Command::StopWait(session) => self.stop_wait(process, session),
                Command::Reply(ticket, reply) => self.reply(process, ticket, reply),
                Command::Lose(grant) => {
                    // One that is looked at for the next caller has no guard.
                    let is_inline = self.processes[process].traits.is_inline;
                    if let Some(handle) = self.processes[process].handles.remove(&grant) {
                        self.end(handle.backend);
                    }
                    self.see("lost");
                    match self.processes[process].guards.get_mut(&grant) {
                        Some(guards) => guards.is_lost = true,
                        None => assert!(is_inline, "a lost grant has guards"),
                    }
                }
                Command::CloseSession(session) => self.close_task(process, session),
            }
        }
        self.set_timer(process);
    }

    fn set_timer(&mut self, process: usize) {
        let next = self.processes[process].machine.next_timer();
        let timer = &mut self.processes[process].timer;
        if let Some(next) = next.filter(|next| timer.is_none_or(|timer| *next < timer)) {
            *timer = Some(next);
            let delay = next.saturating_sub(self.now);
            if delay < Duration::from_secs(60 * 60) {
                self.after(delay, Happening::Timer(process));
            }
        }
    }

    fn job(&self, process: usize, session: SessionId) -> Assignment {
        Assignment {
            process,
            epoch: self.processes[process].epoch,
            session,
            job: self.processes[process].tasks[&session].job,
        }
    }

    fn close_task(&mut self, process: usize, session: SessionId) {
        self.processes[process].last_fault = self.now;
        if let Some(task) = self.end_task(process, session)
            && let Some(backend) = task.backend
        {
            let delay = self.latency();
            self.after(delay, Happening::Ends(backend));
        }
    }

    fn opened(&mut self, process: usize, epoch: u64, session: SessionId) {
        self.see("opened");
        let is_refused = self.rng.f64() < self.faults.refused && self.stopped_at.is_none();
        if self.processes[process].epoch != epoch
            || !self.processes[process].tasks.contains_key(&session)
        {
            return;
        }
        if is_refused {
            self.see("not opened");
            self.processes[process].last_fault = self.now;
            self.end_task(process, session);
            let error = ended();
            return self.handle(process, Event::OpenFailed { session, error });
        }
        let backend = self.server.connect();
        let traits = self.processes[process].traits;
        let task = self.processes[process].tasks.get_mut(&session);
        let task = task.expect("it was looked at");
        task.backend = Some(backend);
        task.last_reply = self.now;
        self.handle(process, Event::SessionUp { session, traits });
        self.next(process, session);
    }

    /// The task asks what to do.
    fn next(&mut self, process: usize, session: SessionId) {
        let Some(task) = self.processes[process].tasks.get_mut(&session) else {
            return;
        };
        task.is_idle = false;
        task.job += 1;
        let backend = task.backend.expect("it is open");
        let mut commands = Vec::new();
        let machine = &mut self.processes[process].machine;
        let work = machine.next(session, self.now, &mut commands);
        machine.check_invariants();
        let job = self.job(process, session);
        match work {
            Job::Close => self.close_task(process, session),
            Job::Idle(until) => {
                assert!(until > self.now, "an idle task goes round and round");
                if let Some(task) = self.task(job) {
                    task.is_idle = true;
                }
                self.after(until - self.now, Happening::Awake(job));
            }
            work => {
                if let (Job::Inspect(inspections), Some(task)) = (&work, self.task(job)) {
                    task.inspecting = inspections.iter().filter_map(Inspection::ticket).collect();
                }
                let delay = self.latency();
                self.after(delay, Happening::Executed(job, backend, work));
            }
        }
        self.carry_out(process, commands);
    }

    fn execute(&mut self, job: Assignment, backend: Backend, work: Job) {
        // The server learns late that its client is gone.
        if !self.server.is_alive(backend) {
            return;
        }
        let response = match work {
            Job::Exchange(batch) => {
                let (answers, granted) = self.server.exchange(backend, &batch);
                self.waits_granted(granted);
                Response::Answers(answers)
            }
            Job::Wait {
                request,
                slice,
                grant,
            } => {
                let is_inline = self.processes[job.process].traits.is_inline;
                let handle = is_inline.then_some(grant);
                let holder = match is_inline {
                    true => self.server.connect(),
                    false => backend,
                };
                let is_free = self.server.try_lock(holder, &request);
                let key = request.key.clone();
                self.waits.insert(holder, Wait { job, key, handle });
                if is_free {
                    return self.wait_ends(holder, Some(Answer::Yes));
                }
                self.server.wait(holder, &request);
                return self.after(slice, Happening::SliceEnds(job, holder));
            }
            Job::Ping => Response::Pong,
            Job::Inspect(inspections) => Response::Inspected(inspections),
            Job::Idle(_) | Job::Close => return,
        };
        self.send(job, backend, response);
    }

    fn send(&mut self, job: Assignment, backend: Backend, response: Response) {
        if self.rng.f64() < self.faults.lost && self.stopped_at.is_none() {
            return self.kill(backend);
        }
        let delay = self.latency();
        self.after(delay, Happening::Replied(job, response));
    }

    fn waits_granted(&mut self, granted: Vec<Backend>) {
        for backend in granted {
            self.wait_ends(backend, Some(Answer::Yes));
        }
    }

    fn wait_ends(&mut self, holder: Backend, answer: Option<Answer>) {
        let Some(Wait { job, key, handle }) = self.waits.remove(&holder) else {
            return;
        };
        self.see(match answer {
            Some(Answer::Yes) => "wait granted",
            Some(_) => "slice over",
            None => "wait stopped",
        });
        let Some(grant) = handle else {
            return self.send(job, holder, Response::Waited(answer));
        };
        match (&answer, self.task(job).is_some()) {
            (Some(Answer::Yes), true) => {
                let handle = Handle {
                    session: job.session,
                    key,
                    backend: holder,
                };
                self.processes[job.process].handles.insert(grant, handle);
            }
            _ => self.end(holder),
        }
        self.replied(job, Response::Waited(answer));
    }

    /// What a thread does for an inline session.
    fn ran(&mut self, process: usize, session: SessionId, inline: Inline) {
        self.processes[process].running -= 1;
        let event = match inline {
            Inline::Try { grant, request } => {
                let backend = self.server.connect();
                let is_taken = self.server.try_lock(backend, &request);
                match is_taken {
                    true => {
                        let key = request.key.clone();
                        let handle = Handle {
                            session,
                            key,
                            backend,
                        };
                        self.processes[process].handles.insert(grant, handle);
                    }
                    false => self.end(backend),
                }
                Event::Tried {
                    session,
                    grant,
                    request,
                    answer: is_taken.into(),
                }
            }
            Inline::Prove {
                grant,
                key,
                confirm,
            } => {
                let handle = self.processes[process].handles.get(&grant);
                let is_held = handle.is_some_and(|handle| self.server.is_alive(handle.backend));
                Event::Proved {
                    grant,
                    key,
                    confirm,
                    is_held,
                }
            }
            Inline::Release {
                grant,
                key,
                confirm,
            } => {
                let handle = self.processes[process].handles.remove(&grant);
                let backend = handle.map(|handle| handle.backend);
                let was_held = backend.is_some_and(|backend| self.server.is_alive(backend));
                if let Some(backend) = backend {
                    self.end(backend);
                }
                Event::Returned {
                    session,
                    key,
                    confirm,
                    was_held,
                }
            }
        };
        self.handle(process, event);
    }

    /// Locks of this inline session whose files were taken away.
    fn look_at_handles(&mut self, process: usize, session: SessionId) {
        let handles = self.processes[process].handles.iter();
        let mine = handles.filter(|(_, handle)| handle.session == session);
        let gone = mine.filter(|(_, handle)| !self.server.is_alive(handle.backend));
        let gone: Vec<_> = gone
            .map(|(grant, handle)| (*grant, handle.key.clone()))
            .collect();
        for (grant, key) in gone {
            self.handle(process, Event::GrantLost { grant, key });
        }
    }

    fn end_task(&mut self, process: usize, session: SessionId) -> Option<Task> {
        let task = self.processes[process].end_task(session)?;
        let handles = &mut self.processes[process].handles;
        let mine = handles.extract_if(.., |_, handle| handle.session == session);
        let backends: Vec<Backend> = mine.map(|(_, handle)| handle.backend).collect();
        for backend in backends {
            self.after(Duration::ZERO, Happening::Ends(backend));
        }
        Some(task)
    }

    fn stop_wait(&mut self, process: usize, session: SessionId) {
        let Process {
            stops_waits, epoch, ..
        } = self.processes[process];
        let is_its =
            |job: Assignment| (job.process, job.epoch, job.session) == (process, epoch, session);
        let mut waits = self.waits.iter();
        let found = waits.find(|(_, wait)| is_its(wait.job));
        let found = found.map(|(holder, _)| *holder).filter(|_| stops_waits);
        if let Some(holder) = found
            && self.server.stop_wait(holder)
        {
            self.wait_ends(holder, None);
        }
    }

    fn replied(&mut self, job: Assignment, response: Response) {
        let now = self.now;
        let Some(task) = self.task(job) else {
            return;
        };
        task.last_reply = now;
        let (process, session) = (job.process, job.session);
        match response {
            Response::Answers(answers) => {
                self.handle(process, Event::Answered { session, answers })
            }
            Response::Waited(answer) => self.handle(process, Event::WaitEnded { session, answer }),
            Response::Pong => {
                self.look_at_handles(process, session);
                self.handle(process, Event::Pinged(session));
            }
            Response::Inspected(inspections) => {
                if let Some(task) = self.task(job) {
                    let inspecting = std::mem::take(&mut task.inspecting);
                    let callers = &mut self.processes[process].callers;
                    callers.retain(|ticket, _| !inspecting.contains(ticket));
                }
                for inspection in inspections {
                    if let Inspection::Blocker(key) = inspection {
                        let holder = None;
                        self.handle(process, Event::BlockerFound { key, holder });
                    }
                }
                self.handle(process, Event::Inspected(session));
            }
        }
        self.next(process, session);
    }

    // Faults.

    /// The session ends on the server, and its process learns of it later.
    fn kill(&mut self, backend: Backend) {
        self.see("killed");
        if self
            .waits
            .get(&backend)
            .is_some_and(|wait| wait.handle.is_some())
        {
            // It is a file that is not locked yet.
            return;
        }
        for process in 0..self.processes.len() {
            let tasks = self.processes[process].tasks.iter();
            let mut mine = tasks.filter(|(_, task)| task.backend == Some(backend));
            if let Some((session, _)) = mine.next() {
                let session = *session;
                let epoch = self.processes[process].epoch;
                self.processes[process].last_fault = self.now;
                // A network that has gone silent is noticed late.
                let longest = [5, 200, 8000][self.rng.usize(0..3)];
                let delay = Duration::from_millis(self.rng.u64(0..longest));
                let seen = Happening::LossSeen {
                    process,
                    epoch,
                    session,
                };
                self.after(delay, seen);
            }
        }
        self.end(backend);
    }

    fn end(&mut self, backend: Backend) {
        self.waits.remove(&backend);
        let granted = self.server.end(backend);
        self.waits_granted(granted);
    }

    fn fault(&mut self) {
        let Some(every) = self.faults.every.filter(|_| self.stopped_at.is_none()) else {
            return;
        };
        let delay = every.mul_f64(2.0 * self.rng.f64());
        self.after(delay, Happening::Fault);
        let process = self.rng.usize(0..self.processes.len());
        match self.rng.u32(0..20) {
            0..8 => {
                let alive = self.server.alive();
                if !alive.is_empty() {
                    let index = self.rng.usize(0..alive.len());
                    self.kill(alive[index]);
                }
            }
            // The server is started anew.
            8 => self
                .server
                .alive()
                .into_iter()
                .for_each(|backend| self.kill(backend)),
            // The process gives up a session that the server still has.
            9 | 10 => self.silence(process),
            11 => self.end_runtime(process),
            12 | 13 => self.close(process),
            14 => self.handle(process, Event::Disputed),
            15 => self.refuse(process),
            16 | 17 => {
                let ticket = self.processes[process].machine.ticket();
                self.call(process, ticket, Caller::Meeting);
                self.handle(process, Event::Meet(ticket));
            }
            _ => {
                let ticket = self.processes[process].machine.ticket();
                self.call(process, ticket, Caller::Inspection);
                self.handle(process, Event::Inspect(ticket));
            }
        }
    }

    fn some_session(&mut self, process: usize) -> Option<SessionId> {
        let tasks = self.processes[process].tasks.iter();
        let open = tasks.filter(|(_, task)| task.backend.is_some());
        let open: Vec<SessionId> = open.map(|(session, _)| *session).collect();
        (!open.is_empty()).then(|| open[self.rng.usize(0..open.len())])
    }

    fn silence(&mut self, process: usize) {
        let Some(session) = self.some_session(process) else {
            return;
        };
        self.processes[process].last_fault = self.now;
        let task = self.end_task(process, session);
        if let Some(backend) = task.and_then(|task| task.backend) {
            let delay = Duration::from_millis(self.rng.u64(0..5000));
            self.after(delay, Happening::Ends(backend));
        }
        let error = ended();
        self.handle(process, Event::SessionLost { session, error });
    }

    fn refuse(&mut self, process: usize) {
        if let Some(session) = self.some_session(process) {
            self.see("refused");
            // It gets no request for ten seconds.
            self.processes[process].last_fault = self.now + Duration::from_secs(10);
            let error = ended();
            self.handle(process, Event::Refused { session, error });
        }
    }

    fn end_runtime(&mut self, process: usize) {
        self.see("runtime ended");
        self.processes[process].last_fault = self.now;
        let sessions: Vec<_> = self.processes[process].tasks.keys().copied().collect();
        for session in sessions {
            let task = self.end_task(process, session);
            if let Some(backend) = task.and_then(|task| task.backend) {
                let delay = Duration::from_millis(self.rng.u64(0..50));
                self.after(delay, Happening::Ends(backend));
            }
        }
        self.processes[process].epoch += 1;
        self.handle(process, Event::RuntimeEnded);
    }

    /// In half of all cases without waiting for the guards.
    fn close(&mut self, process: usize) {
        self.see("closed");
        self.handle(process, Event::Close);
        if self.rng.bool() {
            self.handle(process, Event::Abandon);
        }
    }

    // What must be true.

    /// A guard that says that it holds a lock holds it, or its loss is on its way.
    fn check(&mut self) {
        for process in 0..self.processes.len() {
            for guards in self.processes[process].guards.values() {
                let Guards {
                    key,
                    mode,
                    backend,
                    is_lost,
                    ..
                } = guards;
                assert!(
                    *is_lost
                        || !self.server.is_alive(*backend)
                        || self.server.holds(*backend, key, *mode),
                    "{key} is not held by its guard"
                );
            }
            if self.processes[process].machine.is_drained()
                && self.processes[process].guards.is_empty()
                && self.processes[process].tasks.is_empty()
                && self.processes[process].running == 0
            {
                self.see("restarted");
                self.processes[process].restart(self.bug, &mut self.rng);
            }
        }
    }

    /// No caller waits for long while its key is free and a session could ask.
    fn watch(&mut self) {
        for process in &mut self.processes {
            let is_calm = self.now.saturating_sub(process.last_fault) > 3 * WATCH;
            for client in &mut process.clients {
                let State::Waiting(request) = &client.state else {
                    continue;
                };
                let is_free = self.server.is_free(&request.key);
                client.starved = match is_calm && is_free {
                    true => client.starved + 1,
                    false => 0,
                };
                assert!(
                    client.starved < STARVED,
                    "{} is free and waited for",
                    request.key
                );
            }
        }
    }

    /// Callers ask for nothing more.
    fn stop(&mut self) {
        self.stopped_at = Some(self.now);
        for process in &mut self.processes {
            for client in &mut process.clients {
                if let State::Thinking = client.state {
                    client.enter(State::Stopped);
                }
            }
        }
    }

    /// Everything has been given back and closed.
    fn is_over(&self) -> bool {
        let is_stopped = |process: &Process| {
            let mut clients = process.clients.iter();
            clients.all(|client| matches!(client.state, State::Stopped))
        };
        if self.stopped_at.is_none() || !self.processes.iter().all(is_stopped) {
            return false;
        }
        let is_over = self.server.is_empty()
            && self.processes.iter().all(|process| {
                let Process {
                    machine,
                    tasks,
                    callers,
                    guards,
                    handles,
                    running,
                    ..
                } = process;
                handles.is_empty()
                    && *running == 0
                    && machine.keys.is_empty()
                    && machine.sessions.is_empty()
                    && machine.backoffs.is_empty()
                    && tasks.is_empty()
                    && callers.is_empty()
                    && guards.is_empty()
            });
        let is_late = self.stopped_at.is_some_and(|at| self.now > at + END);
        assert!(is_over || !is_late, "something is left: {self:#?}");
        is_over
    }
}

fn ended() -> Error {
    Phase::Acquire.failed(DbErr::Custom("the session has ended".to_owned()))
}
