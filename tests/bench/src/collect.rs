//! One case in one round: its processes are started, and what they report becomes numbers.

use std::env;
use std::path::PathBuf;
use std::time::SystemTime;

use dlock_bench_child::{Histogram, Outcome, Result, Sample, Work};

use crate::children::{Child, outcomes};
use crate::cores::{Cores, Pinning};
use crate::hand_over;
use crate::peers::Peers;
use crate::plan::{Case, Part};
use crate::results::Numbers;
use crate::statistics::{jain, median, p99, shares};

/// The place of the process that has the lock in (f), after those of the tasks.
const HOLDER: usize = 99;

/// Where and how the processes run.
pub(crate) struct Ground<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) pinning: Option<&'a Pinning>,
    pub(crate) cores: Cores,
    pub(crate) url: &'a str,
    pub(crate) seconds: f64,
}

/// The numbers, and the seconds of the hand-overs.
pub(crate) fn collect(case: &Case, ground: &Ground<'_>) -> Result<(Numbers, Vec<f64>)> {
    // Keys that no sample before has used, whose locks may be on their way out.
    let prefix = format!("{:08x}", fastrand::u32(..));
    let samples = case.samples(ground.url, &prefix, ground.seconds);
    let holder = match case.part {
        Part::Try => Some(holder(case, ground, &samples[0])?),
        _ => None,
    };
    let children = samples.iter().enumerate();
    let children = children.map(|(place, sample)| start(case, ground, sample, place));
    let children = children.collect::<Result<Vec<_>>>()?;
    let seconds = samples[0].seconds;
    let outcomes = outcomes(children, seconds)?;
    if let Some(mut holder) = holder {
        holder.go(SystemTime::now())?;
        holder.outcome(0.0)?;
    }
    let turns: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.turns.clone())
        .collect();
    let hand_overs = hand_over::latencies(&turns)?;
    let numbers = numbers(case, &outcomes, &hand_overs);
    if numbers.values().any(|number| !number.is_finite()) || numbers.is_empty() {
        return Err("nothing was done in time".into());
    }
    Ok((numbers, hand_overs))
}

/// Another process, which has the lock.
fn holder(case: &Case, ground: &Ground<'_>, sample: &Sample) -> Result<Child> {
    let sample = Sample {
        work: Work::Hold,
        ..sample.clone()
    };
    let mut holder = start(case, ground, &sample, HOLDER)?;
    holder.ready()?;
    Ok(holder)
}

fn start(case: &Case, ground: &Ground<'_>, sample: &Sample, place: usize) -> Result<Child> {
    let (program, arguments) = ground.peers.program(case.program)?;
    let mut command = Pinning::command(ground.pinning, ground.cores, program);
    command.args(arguments);
    Child::start(command, sample, errors(place))
}

/// What a child writes there is read only when it fails.
fn errors(place: usize) -> PathBuf {
    env::temp_dir().join(format!("dlock-bench-{}-{place}.log", std::process::id()))
}

/// Removes what the children have written, when it is dropped.
pub(crate) struct Cleaned;

impl Drop for Cleaned {
    fn drop(&mut self) {
        for place in 0..=HOLDER {
            // Most were never there.
            let _ = std::fs::remove_file(errors(place));
        }
    }
}

fn numbers(case: &Case, outcomes: &[Outcome], hand_overs: &[f64]) -> Numbers {
    let mut numbers = Numbers::new();
    let mut add = |name: &str, number: Option<f64>| {
        if let Some(number) = number {
            numbers.insert(name.to_owned(), number);
        }
    };
    match case.part {
        Part::HandOver => {
            add("p50", median(hand_overs));
            add("p99", p99(hand_overs));
        }
        Part::Many => {
            for (name, time) in outcomes.iter().flat_map(|outcome| &outcome.times) {
                add(name, Some(*time));
            }
        }
        Part::Cycle
        | Part::Dropped
        | Part::Hot
        | Part::Each
        | Part::Processes
        | Part::Second
        | Part::Fairness
        | Part::Try
        | Part::Attribute => {
            let mut latency = Histogram::default();
            for outcome in outcomes {
                latency.merge(&outcome.latency);
            }
            if latency.is_empty() {
                return Numbers::new();
            }
            let operations = |outcome: &Outcome| outcome.operations as f64;
            let rates = outcomes
                .iter()
                .map(|outcome| operations(outcome) / outcome.seconds);
            add("per second", Some(rates.sum()));
            add("p50", latency.quantile(0.5));
            add("p99", latency.quantile(0.99));
            let served: usize = outcomes.iter().map(|outcome| outcome.served).sum();
            add("served", Some(served as f64));
            let each: Vec<f64> = outcomes.iter().map(operations).collect();
            let least = shares(&each).into_iter().min_by(f64::total_cmp);
            add("least share", least);
            if case.part == Part::Fairness {
                add("jain", jain(&each));
                let waits = outcomes
                    .iter()
                    .filter_map(|outcome| outcome.times.get("longest wait").copied());
                add("longest wait", waits.max_by(f64::total_cmp));
            }
            let grants: Option<Vec<_>> = outcomes
                .iter()
                .map(|outcome| Some(outcome.grants? as f64))
                .collect();
            add(
                "share of grants",
                grants.and_then(|grants| shares(&grants).last().copied()),
            );
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cases;

    fn outcome(operations: u64, grants: u64) -> Outcome {
        let mut latency = Histogram::default();
        for _ in 0..operations {
            latency.record(1_000_000);
        }
        Outcome {
            operations,
            seconds: 0.5,
            served: 1,
            latency,
            grants: Some(grants),
            ..Outcome::default()
        }
    }

    #[test]
    fn the_second_process_is_counted_by_the_grants_of_the_server() {
        let cases = cases();
        let second = cases.iter().find(|case| case.part == Part::Second).unwrap();
        // The first has handed it on from task to task 900 times.
        let numbers = numbers(second, &[outcome(1_000, 100), outcome(50, 50)], &[]);
        assert!((numbers["share of grants"] - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(numbers["per second"], 2_100.0);
        assert!((numbers["p99"] - 0.001).abs() < 1e-4);
    }

    #[test]
    fn the_fairness_is_that_of_the_processes_and_the_wait_that_of_the_last_served() {
        let cases = cases();
        let case = cases.iter().find(|case| case.part == Part::Fairness);
        let outcomes = [(300, 0.2), (100, 0.4)].map(|(grants, longest)| Outcome {
            times: [("longest wait".to_owned(), longest)].into(),
            ..outcome(grants, grants)
        });
        let numbers = numbers(case.unwrap(), &outcomes, &[]);
        assert_eq!(numbers["jain"], 0.8);
        assert_eq!(numbers["longest wait"], 0.4);
        assert_eq!(numbers["per second"], 800.0);
    }

    #[test]
    fn a_sample_without_operations_has_no_numbers() {
        let cases = cases();
        assert!(numbers(&cases[0], &[outcome(0, 0)], &[]).is_empty());
    }
}
