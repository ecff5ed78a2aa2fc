//! `BENCHMARKS.md`.

use std::time::Duration;

use crate::plan::Part;
use crate::report::notes;
use crate::report::tables::{About, Table, tables};
use crate::results::Results;

/// The whole file; of the charts the file names and titles.
pub(super) fn markdown(results: &Results, charts: &[(&str, &str)]) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `dlock-bench`; every number comes from this one run.\n\n",
    );
    text += &machine(results);
    text += "\n## How\n\n";
    text += notes::HOW;
    text += &missing(results);
    for table in tables(results) {
        let (heading, files) = heading(table.about);
        text += &format!("\n## {heading}\n\n");
        for (file, title) in charts.iter().filter(|(file, _)| files.contains(file)) {
            text += &format!("![{title}](tests/bench/charts/{file})\n\n");
        }
        text += &table.markdown();
    }
    text += &heap(results);
    text += "\n## How to read it\n\n";
    text += notes::READ;
    text
}

/// The heading of a part, and the files of its charts.
fn heading(about: About) -> (&'static str, &'static [&'static str]) {
    match about {
        About::Glance => (
            "At a glance: how many times as many cycles per second as the other lock, PostgreSQL",
            &[],
        ),
        About::Goals => ("Goals", &[]),
        About::Part(Part::Cycle) => (
            "(a) Cycles of acquire and release per second, a key for each task",
            &["throughput-postgres.svg", "throughput-mysql.svg"],
        ),
        About::Part(Part::Dropped) => (
            "(a2) Cycles of one task on a current-thread runtime, which drops its guards, per second",
            &[],
        ),
        About::Part(Part::Hot) => (
            "(b) One hot key, 64 tasks in one process, cycles per second",
            &["hot-key.svg"],
        ),
        About::Part(Part::Each) => (
            "(b2) One hot key, until each of 64 tasks has had it 10 times, cycles per second",
            &[],
        ),
        About::Part(Part::Processes) => (
            "(c) One hot key, 4 processes with 16 tasks, cycles per second",
            &[],
        ),
        About::Part(Part::Second) => (
            "(c2) One hot key, a process with one task against one with 64",
            &[],
        ),
        About::Part(Part::Fairness) => (
            "(c3) One hot key, held for 1 ms by each of 2 tasks in many processes, grants per second",
            &[],
        ),
        About::Part(Part::HandOver) => (
            "(d) From release in one process to acquire in another",
            &["hand-over-postgres.svg", "hand-over-mysql.svg"],
        ),
        About::Part(Part::Many) => ("(e) 10,000 locks held", &[]),
        About::Part(Part::Try) => (
            "(f) Tries of a lock that another process has, per second",
            &[],
        ),
        About::Part(Part::Attribute) => (
            "A function with `#[with_dlock]`, and the same by hand, calls per second",
            &[],
        ),
    }
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let virtualised = if machine.virtualised {
        "virtual"
    } else {
        "not virtual"
    };
    let took = humantime::format_duration(Duration::from_secs(results.took as u64));
    let commit = machine.commit.as_deref().unwrap_or("unknown");
    let mut rows = vec![
        ("command", format!("`{}`", results.command)),
        ("date", machine.date.clone()),
        (
            "rounds",
            format!(
                "{}, samples of {} s, {took} in all",
                results.rounds, results.seconds
            ),
        ),
        (
            "machine",
            format!("{} × {}, {virtualised}", machine.cores, machine.processor),
        ),
        ("kernel", machine.kernel.clone()),
        ("compiler", machine.rustc.clone()),
        ("commit", commit.to_owned()),
    ];
    for (kind, name) in [
        ("server ", "servers"),
        ("crate ", "crates"),
        ("package ", "packages of Python"),
    ] {
        let versions = machine.versions.iter();
        let versions = versions
            .filter_map(|(name, version)| Some(format!("{} {version}", name.strip_prefix(kind)?)));
        let versions = versions.collect::<Vec<_>>().join(", ");
        if !versions.is_empty() {
            rows.push((name, versions));
        }
    }
    let rows = rows
        .into_iter()
        .map(|(name, value)| format!("| {name} | {value} |\n"));
    format!("| | |\n|---|---|\n{}", rows.collect::<String>())
}

fn heap(results: &Results) -> String {
    if results.heap.is_empty() {
        return String::new();
    }
    let rows = results.heap.iter();
    let rows = rows.map(|heap| {
        let server = super::database(&heap.server);
        format!("| {server} | {} | {} |\n", heap.what, heap.count)
    });
    let rows: String = rows.collect();
    format!("\n## Heap\n\n| | counted by `cargo bench` | |\n|---|---|---|\n{rows}")
}

/// What failed, or could not be tried.
fn missing(results: &Results) -> String {
    let mut lines = Vec::new();
    for (name, why) in &results.missing {
        lines.push(format!("- Without {name}: {why}.\n"));
    }
    for (cores, cases) in &results.settings {
        for (name, measured) in cases {
            let failed = measured
                .rounds
                .iter()
                .filter(|round| round.is_none())
                .count();
            if let (Some(why), 1..) = (&measured.failure, failed) {
                let setting = super::setting(*cores, results);
                lines.push(format!(
                    "- {name}, {setting}, failed in {failed} of {} rounds: {why}\n",
                    results.rounds
                ));
            }
        }
    }
    match lines.is_empty() {
        true => String::new(),
        false => format!("\n## What is missing\n\n{}", lines.concat()),
    }
}

impl Table {
    fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let mut rows = self.rows.iter();
        let head = rows.next().map(line).unwrap_or_default();
        let columns = self.rows.first().map_or(0, Vec::len);
        format!(
            "{head}|{}\n{}",
            "---|".repeat(columns),
            rows.map(line).collect::<String>()
        )
    }
}
