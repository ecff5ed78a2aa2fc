//! Short runs of the machine whose order of events is given.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::event::{
    Acquire, Answer, Answers, Command, Error, Event, Job, SessionId, Ticket, Traits,
};
use super::{Machine, Settings};
use crate::key::PhysicalKey;
use crate::mode::Mode;

const MS: Duration = Duration::from_millis(1);

const WAITS: Traits = Traits {
    can_wait: true,
    heartbeat: None,
    tells_holders: false,
    is_inline: false,
};

/// A pool of two sessions, and the time.
struct Run {
    machine: Machine,
    now: Duration,
}

impl Run {
    fn new() -> Self {
        let settings = Settings {
            max_sessions: 2,
            max_locks_per_session: NonZeroUsize::MAX,
            max_local_handoffs: 0,
            idle_timeout: Duration::MAX,
            silence: Duration::from_secs(60),
        };
        let machine = Machine::new(settings, 1);
        let now = Duration::ZERO;
        Self { machine, now }
    }

    fn handle(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        self.machine.handle(event, self.now, &mut commands);
        self.machine.check_invariants();
        commands
    }

    fn next(&mut self, session: SessionId) -> Job {
        let job = self.machine.next(session, self.now, &mut Vec::new());
        self.machine.check_invariants();
        job
    }

    /// Returns the session that is opened for it, too.
    fn acquire(&mut self, key: i64) -> (Ticket, Option<SessionId>) {
        let ticket = self.machine.ticket(0);
        let commands = self.handle(Event::Acquire(Acquire {
            ticket,
            key: PhysicalKey::Int(key),
            name: key.into(),
            mode: Mode::Exclusive,
            deadline: None,
            one_try: false,
        }));
        (ticket, opened(&commands))
    }

    fn up(&mut self, session: SessionId) {
        let traits = WAITS;
        self.handle(Event::SessionUp { session, traits });
    }

    /// The session's try is refused: another process has the lock.
    fn is_refused(&mut self, session: SessionId) -> Vec<Command> {
        let Job::Exchange(batch) = self.next(session) else {
            panic!("it tries");
        };
        let answers = Answers {
            releases: Vec::new(),
            tries: batch.tries.iter().map(|_| Answer::No).collect(),
        };
        self.handle(Event::Answered { session, answers })
    }

    /// The second session is about to wait for key 1.
    fn wait_for_first(&mut self) -> (Ticket, SessionId, SessionId) {
        let (ticket, first) = self.acquire(1);
        let first = first.expect("a session is opened");
        self.up(first);
        let second = opened(&self.is_refused(first)).expect("another one is opened to wait");
        self.up(second);
        (ticket, first, second)
    }
}

fn opened(commands: &[Command]) -> Option<SessionId> {
    commands.iter().find_map(|command| match command {
        Command::Open(session) => Some(*session),
        _ => None,
    })
}

/// Interruptions may come so often that a wait never sees the end of its slice.
#[test]
fn a_slice_that_is_interrupted_after_its_end_has_ended() {
    let mut run = Run::new();
    let (_, first, second) = run.wait_for_first();
    let Job::Wait { slice, grant, .. } = run.next(second) else {
        panic!("it waits");
    };
    run.acquire(2);
    run.is_refused(first);
    run.now += slice + MS;
    let answer = None;
    run.handle(Event::WaitEnded {
        session: second,
        grant,
        answer,
    });
    let Job::Wait { request, .. } = run.next(second) else {
        panic!("it waits");
    };
    assert_eq!(request.key, PhysicalKey::Int(2));
}

#[test]
fn a_session_whose_wait_falls_away_takes_what_no_session_could_be_had_for() {
    let mut run = Run::new();
    let (ticket, first, second) = run.wait_for_first();
    run.handle(Event::SessionLost {
        session: first,
        error: Error::NoRuntime,
    });
    let (_, third) = run.acquire(2);
    run.handle(Event::OpenFailed {
        session: third.expect("a session is opened"),
        error: Error::NoRuntime,
    });
    let key = PhysicalKey::Int(1);
    run.handle(Event::Cancel { ticket, key });
    let Job::Exchange(batch) = run.next(second) else {
        panic!("it tries");
    };
    assert_eq!(batch.tries[0].key, PhysicalKey::Int(2));
}
