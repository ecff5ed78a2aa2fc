//! The goals of issue 4, and whether they are met.

use crate::cores::Cores::{self, All, One};
use crate::heap::HELD;
use crate::plan::{Part, name};
use crate::report::{database, grouped};
use crate::results::Results;
use crate::statistics::{median, spread};

/// A goal and what was measured; `None` where it was not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) work: String,
    pub(crate) cores: Cores,
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    pub(crate) measured: Option<f64>,
    /// The least and the greatest of the rounds.
    pub(crate) spread: Option<(f64, f64)>,
}

/// What the goals of fairness are about.
pub(crate) const JAIN: &str = "by Jain's index";

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn is_met(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(bound) => measured >= bound,
            Self::AtMost(bound) => measured <= bound,
        }
    }
}

impl Goal {
    /// Whether the bound lies between the least and the greatest, so that another run may say the opposite.
    pub(crate) fn is_within_noise(&self) -> bool {
        let (Bound::AtLeast(bound) | Bound::AtMost(bound)) = self.bound;
        self.spread
            .is_some_and(|(least, greatest)| least < bound && bound < greatest)
    }
}

/// All of them, in the order of the issue.
pub(crate) fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (tasks, cores, to, least) in [
        (1, One, "raw", 0.98),
        (1, One, "sqlx", 2.0),
        (1, All, "raw", 0.95),
        (64, One, "raw", 10.0),
        (64, One, "sqlx", 15.0),
        (64, One, "redis", 2.0),
        (64, All, "raw", 20.0),
        (64, All, "redis", 1.0),
        (1_024, One, "raw", 14.0),
        (1_024, One, "redis", 3.5),
        (1_024, All, "raw", 60.0),
        (1_024, All, "redis", 1.5),
    ] {
        goals.push(throughput(results, "postgres", tasks, cores, to, least));
    }
    for server in ["postgres", "mariadb", "mysql"] {
        for cores in [One, All] {
            goals.push(dropped(results, server, cores));
        }
    }
    for cores in [One, All] {
        for to in ["sqlx", "redis"] {
            goals.push(hot(results, cores, to));
        }
    }
    for cores in [One, All] {
        goals.push(second(results, cores));
    }
    for processes in [20, 30, 60] {
        goals.extend(fairness(results, processes));
    }
    for timeout in [false, true] {
        for (number, most) in [("p50", 1.3), ("p99", 3.0)] {
            goals.push(hand_over(results, timeout, number, most));
        }
    }
    goals.extend(many(results));
    for (cores, least) in [(One, 5.0), (All, 10.0)] {
        goals.push(throughput(results, "mariadb", 64, cores, "raw", least));
    }
    // A setting that was not possible is told elsewhere.
    goals.retain(|goal| {
        results
            .settings
            .iter()
            .any(|(cores, _)| *cores == goal.cores)
    });
    goals
}

fn throughput(
    results: &Results,
    server: &str,
    tasks: usize,
    cores: Cores,
    to: &'static str,
    least: f64,
) -> Goal {
    let ours = name(Part::Cycle, server, "dlock", tasks, false);
    // One connection does as much for 64 tasks as for one.
    let theirs = match to {
        "raw" => name(Part::Cycle, server, to, 1, false),
        "redis" => name(Part::Cycle, "redis", to, tasks, false),
        _ => name(Part::Cycle, server, to, tasks, false),
    };
    let title = if server == "mariadb" { "MariaDB, " } else { "" };
    let s = if tasks == 1 { "" } else { "s" };
    let ratios = results.ratios(cores, (&ours, "per second"), (&theirs, "per second"));
    Goal {
        work: format!("{title}(a) {} task{s}", grouped(tasks)),
        cores,
        what: times(to),
        bound: Bound::AtLeast(least),
        measured: median(&ratios),
        spread: spread(&ratios),
    }
}

fn dropped(results: &Results, server: &str, cores: Cores) -> Goal {
    let [ours, theirs] =
        ["dlock", "raw"].map(|subject| name(Part::Dropped, server, subject, 1, false));
    let ratios = results.ratios(cores, (&ours, "per second"), (&theirs, "per second"));
    let title = match server {
        "postgres" => String::new(),
        _ => format!("{}, ", database(server)),
    };
    Goal {
        work: format!("{title}(a2) 1 task that drops its guards"),
        cores,
        what: times("raw"),
        bound: Bound::AtLeast(1.5),
        measured: median(&ratios),
        spread: spread(&ratios),
    }
}

fn times(to: &str) -> &'static str {
    match to {
        "raw" => "× one raw connection, 1 task",
        "sqlx" => "× sqlx on its pool",
        _ => "× Redis",
    }
}

/// With its usual retry Redis serves some of the tasks only, about as fast as one task is without the others: so it is compared where all are to be served.
fn hot(results: &Results, cores: Cores, to: &'static str) -> Goal {
    let (part, server, work, what) = match to {
        "redis" => (
            Part::Each,
            "redis",
            "(b2) one hot key, 10 times for each of 64 tasks",
            "× Redis with its usual retry",
        ),
        _ => (
            Part::Hot,
            "postgres",
            "(b) one hot key, 64 tasks",
            times(to),
        ),
    };
    let [ours, theirs] = [("postgres", "dlock"), (server, to)]
        .map(|(server, subject)| name(part, server, subject, 64, false));
    let ratios = results.ratios(cores, (&ours, "per second"), (&theirs, "per second"));
    Goal {
        work: work.to_owned(),
        cores,
        what,
        bound: Bound::AtLeast(100.0),
        measured: median(&ratios),
        spread: spread(&ratios),
    }
}

fn second(results: &Results, cores: Cores) -> Goal {
    let case = name(Part::Second, "postgres", "dlock", 64, false);
    let case = results.case(cores, &case);
    Goal {
        work: "(c2) one task of a second process against 64".to_owned(),
        cores,
        what: "of the server's grants",
        bound: Bound::AtLeast(0.4),
        measured: case.and_then(|case| case.median("share of grants")),
        spread: case.and_then(|case| case.spread("share of grants")),
    }
}

fn fairness(results: &Results, processes: usize) -> [Goal; 3] {
    let [ours, theirs] =
        ["dlock", "raw"].map(|subject| name(Part::Fairness, "postgres", subject, processes, false));
    let ratios = |number| results.ratios(All, (&ours, number), (&theirs, number));
    let indices = results.case(All, &ours);
    let indices = indices.map_or_else(Vec::new, |case| case.there("jain"));
    let raw = "× raw connections";
    [
        (
            "longest wait",
            raw,
            Bound::AtMost(3.0),
            ratios("longest wait"),
        ),
        ("fairness", JAIN, Bound::AtLeast(0.97), indices),
        ("rate", raw, Bound::AtLeast(1.0), ratios("per second")),
    ]
    .map(|(number, what, bound, rounds)| Goal {
        work: format!("(c3) one hot key, {processes} processes with 2 tasks, {number}"),
        cores: All,
        what,
        bound,
        measured: median(&rounds),
        spread: spread(&rounds),
    })
}

fn hand_over(results: &Results, timeout: bool, number: &'static str, most: f64) -> Goal {
    let ours = name(Part::HandOver, "postgres", "dlock", 1, timeout);
    let theirs = name(Part::HandOver, "postgres", "raw", 1, false);
    let with = if timeout { ", with a timeout" } else { "" };
    let ratios = results.ratios(All, (&ours, number), (&theirs, number));
    // One round has too few for its slowest hundredth.
    let pooled = || {
        let [ours, theirs] = [&ours, &theirs].map(|case| results.case(All, case)?.hand_over_p99());
        Some(ours? / theirs?)
    };
    Goal {
        work: format!("(d) hand-over between processes, {number}{with}"),
        cores: All,
        what: "× two raw connections",
        bound: Bound::AtMost(most),
        measured: if number == "p99" {
            pooled()
        } else {
            median(&ratios)
        },
        spread: spread(&ratios),
    }
}

fn many(results: &Results) -> [Goal; 3] {
    let case = name(Part::Many, "postgres", "dlock", 10_000, false);
    let acquired = results.case(One, &case);
    let acquired = acquired.map_or_else(Vec::new, |case| case.there("10000 acquired"));
    let heap = results
        .heap
        .iter()
        .find(|heap| heap.server == "postgres" && heap.what == HELD);
    let [with_many, with_few] = [10_000, 10].map(|held| format!("cycle with {held} held"));
    let slower = results.ratios(One, (&case, &with_many), (&case, &with_few));
    [
        (2.0, "s until all are acquired", acquired),
        (
            2_048.0,
            "bytes of heap each",
            heap.map(|heap| heap.count as f64).into_iter().collect(),
        ),
        (1.5, "× the time of a cycle with 10 held", slower),
    ]
    .map(|(most, what, rounds)| Goal {
        work: "(e) 10,000 locks held".to_owned(),
        cores: One,
        what,
        bound: Bound::AtMost(most),
        measured: median(&rounds),
        spread: spread(&rounds),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::cases;
    use crate::results::Measured;

    #[test]
    fn each_goal_is_about_cases_of_the_plan() {
        let numbers = [
            "per second",
            "p50",
            "p99",
            "share of grants",
            "longest wait",
            "jain",
            "10000 acquired",
            "cycle with 10 held",
            "cycle with 10000 held",
        ];
        let numbers: BTreeMap<_, _> = numbers.map(|name| (name.to_owned(), 1.0)).into();
        let measured = Measured {
            rounds: vec![Some(numbers)],
            hand_overs: vec![1.0; 100],
            ..Measured::default()
        };
        let all: BTreeMap<_, _> = cases()
            .iter()
            .map(|case| (case.name(), measured.clone()))
            .collect();
        let results = Results {
            settings: vec![(One, all.clone()), (All, all)],
            ..Results::default()
        };
        let goals = goals(&results);
        let missing: Vec<_> = goals
            .iter()
            .filter(|goal| goal.measured.is_none())
            .collect();
        assert!(
            missing.iter().all(|goal| goal.what.contains("heap")),
            "{missing:?}"
        );
        assert_eq!(missing.len(), 1);
    }

    #[test]
    fn a_bound_between_the_rounds_is_within_the_noise() {
        let goal = |least, greatest| Goal {
            work: String::new(),
            cores: One,
            what: "",
            bound: Bound::AtLeast(2.0),
            measured: None,
            spread: Some((least, greatest)),
        };
        assert!(goal(1.9, 2.1).is_within_noise());
        assert!(!goal(2.0, 2.1).is_within_noise() && !goal(1.8, 2.0).is_within_noise());
    }

    #[test]
    fn a_bound_includes_its_number() {
        assert!(Bound::AtLeast(2.0).is_met(2.0) && !Bound::AtLeast(2.0).is_met(1.9));
        assert!(Bound::AtMost(2.0).is_met(2.0) && !Bound::AtMost(2.0).is_met(2.1));
    }
}
