//! The tables, of cells; Markdown and the terminal draw them.

use std::fmt::Write;

use crate::cores::Cores;
use crate::plan::{Case, Part, cases};
use crate::report::{database, glance, goals, numbers, setting, title};
use crate::results::{Measured, Results};

/// A heading, and rows, the first of which names the columns.
pub(super) struct Table {
    pub(super) about: About,
    pub(super) rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy)]
pub(super) enum About {
    Glance,
    Goals,
    Part(Part),
}

/// All that have anything to show.
pub(super) fn tables(results: &Results) -> Vec<Table> {
    let mut tables = vec![
        Table {
            about: About::Glance,
            rows: glance::rows(results),
        },
        Table {
            about: About::Goals,
            rows: goal_rows(results),
        },
    ];
    for part in [
        Part::Cycle,
        Part::Dropped,
        Part::Hot,
        Part::Each,
        Part::Processes,
        Part::Second,
        Part::Fairness,
        Part::HandOver,
        Part::Many,
        Part::Try,
        Part::Attribute,
    ] {
        let rows = match part {
            Part::Cycle | Part::Fairness | Part::Try => by_number(results, part),
            _ => by_setting(results, part),
        };
        let about = About::Part(part);
        tables.push(Table { about, rows });
    }
    tables.retain(|table| table.rows.len() > 1);
    tables
}

fn goal_rows(results: &Results) -> Vec<Vec<String>> {
    let head = ["work", "setting", "goal", "measured", "rounds", "met"].map(str::to_owned);
    let rows = goals::rows(results).into_iter();
    [head].into_iter().chain(rows).map(Vec::from).collect()
}

/// A row for each subject and setting, a column for each number of tasks or processes.
fn by_number(results: &Results, part: Part) -> Vec<Vec<String>> {
    let cases = there(results, part);
    let mut numbers: Vec<_> = cases.iter().map(Case::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let columns = numbers.iter().map(|number| match (part, number) {
        (Part::Fairness, number) => format!("{number} processes"),
        (_, 1) => "1 task".to_owned(),
        (_, number) => format!("{} tasks", grouped(*number)),
    });
    let mut rows = vec![
        ["server", "lock", "setting"]
            .map(str::to_owned)
            .into_iter()
            .chain(columns)
            .collect(),
    ];
    for (server, subject, _) in subjects(&cases) {
        for (cores, measured) in &results.settings {
            let cell = |number: &usize| {
                let case = cases.iter().find(|case| {
                    (case.server, case.subject, case.number()) == (server, subject, *number)
                });
                let measured = case.and_then(|case| Some((case, measured.get(&case.name())?)));
                measured.map_or_else(String::new, |(case, measured)| {
                    cell(part, case.tasks.iter().sum(), measured)
                })
            };
            let cells: Vec<_> = numbers.iter().map(cell).collect();
            let first = [
                database(server).to_owned(),
                title(server, subject),
                setting(*cores, results),
            ];
            rows.push(first.into_iter().chain(cells).collect());
        }
    }
    rows
}

/// A row for each subject, a column for each setting.
fn by_setting(results: &Results, part: Part) -> Vec<Vec<String>> {
    let cases = there(results, part);
    let columns = results
        .settings
        .iter()
        .map(|(cores, _)| setting(*cores, results));
    let mut rows = vec![
        ["server", "lock"]
            .map(str::to_owned)
            .into_iter()
            .chain(columns)
            .collect(),
    ];
    for (server, subject, timeout) in subjects(&cases) {
        let case = cases
            .iter()
            .find(|case| (case.server, case.subject, case.timeout) == (server, subject, timeout));
        let cell = |cores: Cores| {
            let measured = case.and_then(|case| Some((case, results.case(cores, &case.name())?)));
            measured.map_or_else(String::new, |(case, measured)| {
                cell(part, case.tasks.iter().sum(), measured)
            })
        };
        let with = if timeout { ", with a timeout" } else { "" };
        let first = [database(server).to_owned(), title(server, subject) + with];
        let cells = results.settings.iter().map(|(cores, _)| cell(*cores));
        rows.push(first.into_iter().chain(cells).collect());
    }
    rows
}

/// The tasks are those of all processes.
fn cell(part: Part, tasks: usize, measured: &Measured) -> String {
    match part {
        Part::HandOver => hand_over(measured),
        Part::Many => many(measured),
        Part::Hot => extended(
            rate_of_served(measured, tasks),
            measured,
            "served",
            |served| format!("{served:.0} of 64 tasks served"),
        ),
        Part::Processes => extended(
            rate_of_served(measured, tasks),
            measured,
            "least share",
            |share| format!("least share {}", numbers::percent(share)),
        ),
        Part::Second => extended(
            rate_of_served(measured, tasks),
            measured,
            "share of grants",
            |share| format!("second process {}", numbers::percent(share)),
        ),
        Part::Fairness => {
            let waits = extended(rate(measured), measured, "longest wait", |wait| {
                format!("longest wait {}", numbers::time(wait))
            });
            extended(waits, measured, "jain", |index| {
                format!("Jain {}", numbers::index(index))
            })
        }
        _ => rate(measured),
    }
}

/// Operations per second with their spread, and what the slowest took.
fn rate(measured: &Measured) -> String {
    rate_with(measured, measured.median("p99"))
}

/// Without the slowest where a task was not served at all, since that one waited longer than the sample.
fn rate_of_served(measured: &Measured, tasks: usize) -> String {
    let served = measured.spread("served").map(|(least, _)| least);
    let all = served.is_some_and(|served| served >= tasks as f64);
    rate_with(measured, measured.median("p99").filter(|_| all))
}

fn rate_with(measured: &Measured, p99: Option<f64>) -> String {
    let numbers = || {
        let (least, most) = measured.spread("per second")?;
        let mut text = numbers::count(measured.median("per second")?);
        // To write into a string cannot fail.
        let _ = write!(
            text,
            " ({} – {})",
            numbers::count(least),
            numbers::count(most)
        );
        let p99 = p99.map_or_else(|| "–".to_owned(), numbers::time);
        let _ = write!(text, "; p99 {p99}");
        Some(text)
    };
    numbers().unwrap_or_else(|| "failed".to_owned())
}

fn extended(
    rate: String,
    measured: &Measured,
    number: &str,
    text: impl Fn(f64) -> String,
) -> String {
    let more = measured
        .median(number)
        .map(|number| format!("; {}", text(number)));
    rate + &more.unwrap_or_default()
}

fn hand_over(measured: &Measured) -> String {
    let numbers = || {
        let (least, most) = measured.spread("p50")?;
        let p99 = measured.hand_over_p99();
        let p99 = p99.map_or_else(|| "–".to_owned(), numbers::time);
        let [p50, least, most] = [measured.median("p50")?, least, most].map(numbers::time);
        let count = measured.hand_overs.len();
        Some(format!(
            "p50 {p50} ({least} – {most}); p99 {p99}; {count} in all"
        ))
    };
    numbers().unwrap_or_else(|| "failed".to_owned())
}

fn many(measured: &Measured) -> String {
    let names = [
        "10000 acquired",
        "cycle with 10 held",
        "cycle with 1000 held",
        "cycle with 10000 held",
    ];
    let texts = names.into_iter().filter_map(|name| {
        let time = numbers::time(measured.median(name)?);
        // As the child names them, with commas.
        let name = name.replace("000 ", ",000 ");
        Some(format!("{name}: {time}"))
    });
    let text = texts.collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        "failed".to_owned()
    } else {
        text
    }
}

/// The cases of this part that were measured.
fn there(results: &Results, part: Part) -> Vec<Case> {
    let cases = cases().into_iter().filter(|case| case.part == part);
    let measured = |case: &Case| {
        results
            .settings
            .iter()
            .any(|(_, measured)| measured.contains_key(&case.name()))
    };
    cases.filter(measured).collect()
}

fn subjects(cases: &[Case]) -> Vec<(&'static str, &'static str, bool)> {
    let mut subjects: Vec<_> = cases
        .iter()
        .map(|case| (case.server, case.subject, case.timeout))
        .collect();
    subjects.dedup();
    subjects
}

/// With commas.
pub(crate) fn grouped(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

/// For the terminal.
pub(super) fn plain(results: &Results) -> String {
    let mut text = String::new();
    for table in tables(results) {
        let columns = table.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            table
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<_> = (0..columns)
            .map(|column| width(column).unwrap_or_default())
            .collect();
        text.push('\n');
        for row in &table.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
    }
    text
}
