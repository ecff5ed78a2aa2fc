//! What is measured: which lock, at which work, with how many tasks and processes.

use dlock_bench_child::{Keys, Sample, Work};
use serde::{Deserialize, Serialize};

use crate::peers::Program;

/// A kind of work, with the letter of issue 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Part {
    /// (a) Cycles, a key for each task.
    Cycle,
    /// (a2) Cycles of 1 task on a current-thread runtime, which drops its guards.
    Dropped,
    /// (b) Cycles of 64 tasks on one key.
    Hot,
    /// (b2) The same, until each of them has had it 10 times.
    Each,
    /// (c) Cycles on one key, in 4 processes with 16 tasks.
    Processes,
    /// (c2) A process with one task against one with 64.
    Second,
    /// (c3) 20, 30 and 60 processes with 2 tasks, which hold one key for 1 ms each.
    Fairness,
    /// (d) From one process to another.
    HandOver,
    /// (e) 10,000 locks at a time.
    Many,
    /// (f) A try of what another process has.
    Try,
    /// A function with `#[with_dlock]`, and the same by hand.
    Attribute,
}

/// Something to measure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    pub(crate) part: Part,
    pub(crate) server: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) program: Program,
    /// Those of each process.
    pub(crate) tasks: &'static [usize],
    pub(crate) timeout: bool,
}

/// Takes some 20 ms for each lock, so its samples are longer, and 64 tasks would not get one each.
const SLOW: &str = "PyMySQLLock";

/// sqlx with the test before each acquire that its pools do unless they are told not to.
const SQLX_AS_IS: &str = "sqlx+test";

/// For comparison at one work only: cycles, one at a time.
const CYCLES_ONLY: [&str; 2] = [SLOW, SQLX_AS_IS];

/// More than these tasks take longer.
const MANY: usize = 1_000;

/// A kind of lock, on the servers that it knows, with the most tasks that it takes.
struct Peer(&'static str, Program, &'static [&'static str], usize);

const DATABASES: &[&str] = &["postgres", "mariadb", "mysql", "sqlite"];

const PEERS: [Peer; 11] = [
    Peer("raw", Program::Own, DATABASES, 1),
    Peer("dlock", Program::Own, DATABASES, 1_024),
    Peer("sqlx", Program::Own, &["postgres"], 1_024),
    Peer(SQLX_AS_IS, Program::Own, &["postgres"], 1),
    Peer(
        "distributed-lock",
        Program::DistributedLock,
        &["postgres", "mysql"],
        1_024,
    ),
    Peer("redis", Program::Own, &["redis"], 1_024),
    Peer("redis+mutex", Program::Own, &["redis"], 0),
    Peer(
        "sqlalchemy-dlock/asyncpg",
        Program::Python,
        &["postgres"],
        64,
    ),
    // A thread for each task.
    Peer(
        "sqlalchemy-dlock/psycopg2",
        Program::Python,
        &["postgres"],
        64,
    ),
    // It shows what the TLS context costs.
    Peer(SLOW, Program::Python, &["mariadb"], 1),
    // A connection and two threads for each task.
    Peer("PyMySQLLock without TLS", Program::Python, &["mariadb"], 64),
];

/// Everything, in the order of the report. What is compared is next to each other, so that it is measured at the same time.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for part in [
        Part::Cycle,
        Part::Dropped,
        Part::Hot,
        Part::Each,
        Part::Processes,
        Part::Fairness,
        Part::HandOver,
        Part::Try,
        Part::Second,
        Part::Many,
        Part::Attribute,
    ] {
        for server in ["postgres", "redis", "mariadb", "mysql", "sqlite"] {
            for peer in &PEERS {
                let fits = part == Part::Cycle || !CYCLES_ONLY.contains(&peer.0);
                if peer.2.contains(&server) && fits {
                    add(&mut cases, part, server, peer);
                }
            }
        }
    }
    cases
}

fn add(
    cases: &mut Vec<Case>,
    part: Part,
    server: &'static str,
    &Peer(subject, program, _, most): &Peer,
) {
    let dlock = subject == "dlock";
    // Python takes longer to start than to measure.
    let skips = |tasks| program == Program::Python && tasks == 8;
    let mut add = |subject, tasks: &'static [usize], timeout| {
        cases.push(Case {
            part,
            server,
            subject,
            program,
            tasks,
            timeout,
        });
    };
    match part {
        Part::Cycle => {
            let all: [&'static [usize]; 4] = [&[1], &[8], &[64], &[1_024]];
            for tasks in all
                .into_iter()
                .filter(|tasks| tasks[0] <= most && !skips(tasks[0]))
            {
                add(subject, tasks, false);
            }
        }
        Part::Dropped if dlock || subject == "raw" => add(subject, &[1], false),
        Part::Hot => add(subject, &[64], false),
        Part::Each if program != Program::Python => add(subject, &[64], false),
        Part::Processes => add(subject, &[16; 4], false),
        Part::Fairness if dlock || subject == "raw" => match server {
            "postgres" => {
                for tasks in [&[2; 20], &[2; 30], &[2; 60]] as [&'static [usize]; 3] {
                    add(subject, tasks, false);
                }
            }
            "mariadb" | "mysql" => add(subject, &[2; 20], false),
            _ => {}
        },
        Part::Second if dlock && server != "sqlite" => add(subject, &[64, 1], false),
        Part::HandOver => {
            add(subject, &[1; 2], false);
            if dlock || subject == "distributed-lock" {
                add(subject, &[1; 2], true);
            }
        }
        Part::Many if dlock => add(subject, &[10_000], false),
        Part::Try if most > 0 && (subject, server) != ("raw", "sqlite") => {
            for tasks in [&[1], &[64]] as [&'static [usize]; 2] {
                if tasks[0] == 1 || (subject != "raw" && program != Program::Python) {
                    add(subject, tasks, false);
                }
            }
        }
        Part::Attribute if dlock && server == "postgres" => {
            add("with_dlock", &[1], false);
            add("by hand", &[1], false);
        }
        Part::Dropped
        | Part::Each
        | Part::Second
        | Part::Fairness
        | Part::Many
        | Part::Try
        | Part::Attribute => {}
    }
}

impl Case {
    /// By which it is chosen, and found again.
    pub(crate) fn name(&self) -> String {
        name(
            self.part,
            self.server,
            self.subject,
            self.number(),
            self.timeout,
        )
    }

    /// How many processes there are where that is what differs, else the tasks of the first one.
    pub(crate) fn number(&self) -> usize {
        match self.part {
            Part::Fairness => self.tasks.len(),
            _ => self.tasks[0],
        }
    }

    /// Whether one round is enough: 10,000 locks on SQLite are 10,000 files, which take many seconds.
    pub(crate) fn once(&self) -> bool {
        (self.part, self.server) == (Part::Many, "sqlite")
    }

    /// What each of its processes does.
    pub(crate) fn samples(&self, url: &str, prefix: &str, seconds: f64) -> Vec<Sample> {
        let polls = self.subject.starts_with("redis");
        let sample = |&tasks: &usize| Sample {
            subject: self.subject.to_owned(),
            url: url.to_owned(),
            work: match self.part {
                Part::HandOver => Work::HandOver,
                Part::Many => Work::Many,
                Part::Each => Work::Each,
                Part::Fairness => Work::Contend,
                Part::Try => Work::Try,
                // A raw connection has no guard to drop: it unlocks, which is a round trip.
                Part::Dropped if self.subject == "dlock" => Work::Drop,
                _ => Work::Cycle,
            },
            tasks,
            keys: match self.part {
                Part::Cycle | Part::Dropped | Part::Many | Part::Attribute => Keys::Own,
                _ => Keys::One,
            },
            prefix: prefix.to_owned(),
            seconds: match self.part {
                // So many hand-overs that all rounds together have a 99th of a hundred.
                Part::HandOver => seconds * if polls { 25.0 } else { 12.5 },
                // So long that the key goes round all of 60 processes several times.
                Part::Fairness => seconds * 15.0,
                _ if self.subject == SLOW => seconds * 3.0,
                // So many need a while to get into step.
                _ if tasks > MANY => seconds * 2.5,
                _ => seconds,
            },
            warm_up: (seconds / 3.0).min(0.2) * if tasks > MANY { 4.0 } else { 1.0 },
            timeout: self.timeout.then_some(30.0),
            // Longer than the other takes to find the lock free: at once, or by its next retry.
            pause: if polls { 110 } else { 1 },
            max_sessions: (self.part == Part::Many).then_some(20),
            current_thread: self.part == Part::Dropped,
        };
        self.tasks.iter().map(sample).collect()
    }
}

/// The name of a case, with its `Case::number`.
pub(crate) fn name(
    part: Part,
    server: &str,
    subject: &str,
    number: usize,
    timeout: bool,
) -> String {
    let letter = match part {
        Part::Cycle => "a",
        Part::Dropped => "a2",
        Part::Hot => "b",
        Part::Each => "b2",
        Part::Processes => "c",
        Part::Second => "c2",
        Part::Fairness => "c3",
        Part::HandOver => "d",
        Part::Many => "e",
        Part::Try => "f",
        Part::Attribute => "attribute",
    };
    let timeout = if timeout { "/timeout" } else { "" };
    format!("{letter}/{server}/{subject}/{number}{timeout}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own() {
        let cases = cases();
        let names: BTreeSet<_> = cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), cases.len());
        for name in [
            "a/postgres/raw/1",
            "a/redis/redis/1024",
            "a2/mariadb/dlock/1",
            "c/postgres/sqlx/16",
            "c3/postgres/raw/60",
            "d/mysql/dlock/1/timeout",
            "e/mariadb/dlock/10000",
        ] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn processes_of_a_case_share_their_hot_key() {
        let cases = cases();
        let case = cases
            .iter()
            .find(|case| case.part == Part::Processes)
            .unwrap();
        let samples = case.samples("url", "x", 1.0);
        assert_eq!(samples.len(), 4);
        assert!(
            samples
                .iter()
                .all(|sample| sample.key(3) == "x/hot" && sample.tasks == 16)
        );
    }
}
