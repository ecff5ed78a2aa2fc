//! What the driver does: carries out commands, runs the tasks of sessions.

use std::time::Duration;

use super::faults::ended;
use super::process::{Handle, Process, Task};
use super::server::Backend;
use super::world::{Assignment, Happening, Response, Wait, World};
use crate::engine::machine::event::{
    Answer, Command, Event, Inline, Inspection, Job, Lost, SessionId,
};

impl World {
    pub(super) fn task(&mut self, job: Assignment) -> Option<&mut Task> {
        let process = &mut self.processes[job.process];
        let task = process.tasks.get_mut(&job.session);
        task.filter(|task| process.epoch == job.epoch && task.job == job.job)
    }

    pub(super) fn handle(&mut self, process: usize, event: Event) {
        let mut commands = Vec::new();
        let machine = &mut self.processes[process].machine;
        machine.handle(event, self.now, &mut commands);
        if self.bug.is_none() {
            machine.check_invariants();
        }
        self.carry_out(process, commands);
    }

    pub(super) fn carry_out(&mut self, process: usize, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Open(session) => {
                    let task = Task {
                        backend: None,
                        is_idle: false,
                        job: 0,
                        last_reply: self.now,
                        inspecting: Vec::new(),
                        must_ping: false,
                    };
                    self.processes[process].tasks.insert(session, task);
                    let epoch = self.processes[process].epoch;
                    let delay = match self.rng.u32(0..20) == 0 && self.faults.every.is_some() {
                        true => Duration::from_millis(self.rng.u64(0..3000)),
                        false => self.latency() * 4,
                    };
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
                Command::Lose(Lost { grant, .. }) => {
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
                Command::CloseSession(session, _) => self.close_task(process, session),
            }
        }
        self.set_timer(process);
    }

    pub(super) fn set_timer(&mut self, process: usize) {
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

    pub(super) fn job(&self, process: usize, session: SessionId) -> Assignment {
        Assignment {
            process,
            epoch: self.processes[process].epoch,
            session,
            job: self.processes[process].tasks[&session].job,
        }
    }

    pub(super) fn close_task(&mut self, process: usize, session: SessionId) {
        if let Some(task) = self.end_task(process, session)
            && let Some(backend) = task.backend
        {
            let delay = self.latency();
            self.after(delay, Happening::Ends(backend));
        }
    }

    pub(super) fn opened(&mut self, process: usize, epoch: u64, session: SessionId) {
        self.see("opened");
        let is_refused = self.rng.f64() < self.faults.refused && self.stopped_at.is_none();
        if self.processes[process].epoch != epoch
            || !self.processes[process].tasks.contains_key(&session)
        {
            return;
        }
        if is_refused {
            self.see("not opened");
            let at = self.now;
            self.processes[process].has_fault_until(at);
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
    pub(super) fn next(&mut self, process: usize, session: SessionId) {
        let Some(task) = self.processes[process].tasks.get_mut(&session) else {
            return;
        };
        task.is_idle = false;
        task.job += 1;
        let backend = task.backend.expect("it is open");
        let mut commands = Vec::new();
        let machine = &mut self.processes[process].machine;
        let work = machine.next(session, self.now, &mut commands);
        if self.bug.is_none() {
            machine.check_invariants();
        }
        let job = self.job(process, session);
        let task = self.task(job).expect("it has a job");
        let must_ping = std::mem::take(&mut task.must_ping);
        let pings = matches!(work, Job::Ping | Job::Close);
        assert!(pings || !must_ping, "a disputed session does {work:?}");
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

    pub(super) fn execute(&mut self, job: Assignment, backend: Backend, work: Job) {
        // The server learns late that its client is gone.
        if !self.server.is_alive(backend) {
            return;
        }
        let response = match work {
            Job::Exchange(batch) => {
                let (failed, rng) = (self.faults.failed, &mut self.rng);
                let fails = || (rng.f64() < failed).then(Answer::refused);
                let (answers, granted) = self.server.exchange(backend, &batch, fails);
                self.waits_granted(granted);
                Response::Answers(answers)
            }
            Job::Wait {
                request,
                slice,
                grant,
            } => {
                let is_inline = self.processes[job.process].traits.is_inline;
                let holder = match is_inline {
                    true => self.server.connect(),
                    false => backend,
                };
                let is_free = self.server.try_lock(holder, &request);
                let key = request.key.clone();
                let wait = Wait {
                    job,
                    key,
                    grant,
                    is_inline,
                };
                self.waits.insert(holder, wait);
                if is_free {
                    return self.wait_ends(holder, Some(Answer::Yes));
                }
                if self.rng.f64() < self.faults.failed {
                    let answer =
                        [Answer::Deadlock, Answer::refused()][self.rng.usize(0..2)].clone();
                    return self.wait_ends(holder, Some(answer));
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

    pub(super) fn send(&mut self, job: Assignment, backend: Backend, response: Response) {
        if self.rng.f64() < self.faults.lost && self.stopped_at.is_none() {
            return self.kill(backend);
        }
        let delay = self.latency();
        self.after(delay, Happening::Replied(job, response));
    }

    pub(super) fn waits_granted(&mut self, granted: Vec<Backend>) {
        for backend in granted {
            self.wait_ends(backend, Some(Answer::Yes));
        }
    }

    pub(super) fn wait_ends(&mut self, holder: Backend, answer: Option<Answer>) {
        let Some(wait) = self.waits.remove(&holder) else {
            return;
        };
        let Wait {
            job,
            key,
            grant,
            is_inline,
        } = wait;
        self.see(match answer {
            Some(Answer::Yes) => "wait granted",
            Some(_) => "slice over",
            None => "wait stopped",
        });
        if !is_inline {
            return self.send(job, holder, Response::Waited(grant, answer));
        }
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
        self.replied(job, Response::Waited(grant, answer));
    }

    pub(super) fn end_task(&mut self, process: usize, session: SessionId) -> Option<Task> {
        let task = self.processes[process].end_task(session)?;
        let handles = &mut self.processes[process].handles;
        let mine = handles.extract_if(.., |_, handle| handle.session == session);
        let backends: Vec<Backend> = mine.map(|(_, handle)| handle.backend).collect();
        for backend in backends {
            self.after(Duration::ZERO, Happening::Ends(backend));
        }
        Some(task)
    }

    pub(super) fn stop_wait(&mut self, process: usize, session: SessionId) {
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

    pub(super) fn replied(&mut self, job: Assignment, response: Response) {
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
            Response::Waited(grant, answer) => {
                let ended = Event::WaitEnded {
                    session,
                    grant,
                    answer,
                };
                self.handle(process, ended);
            }
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
}
