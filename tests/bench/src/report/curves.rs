//! Throughput over concurrency.

use dlock_bench_child::Result;

use crate::cores::Cores;
use crate::plan::{Case, Part, cases};
use crate::report::frame::{Axis, Line, decades, panels, rate, style};
use crate::report::{database, databases, setting, title};
use crate::results::Results;

/// Of the most tasks, as a power of two.
const MOST: f64 = 10.0;

/// `None` without any numbers.
pub(super) fn curves(results: &Results, servers: &[&str]) -> Result<Option<String>> {
    let settings = results.settings.iter();
    let settings: Vec<_> = settings
        .map(|(cores, _)| (setting(*cores, results), lines(results, servers, *cores)))
        .collect();
    let points = settings
        .iter()
        .flat_map(|(_, lines)| lines)
        .flat_map(|line| &line.points);
    let rates: Vec<_> = points.map(|(_, rate)| *rate).collect();
    let Some(most) = rates.iter().copied().reduce(f64::max) else {
        return Ok(None);
    };
    let least = rates.iter().copied().fold(most, f64::min);
    let x = Axis {
        name: "tasks, each with a key of its own",
        range: 0.0..MOST,
        labels: 6,
        format: |power| format!("{}", power.exp2().round()),
    };
    let range = least.floor()..most.ceil();
    let y = Axis {
        name: "acquire and release, per second",
        labels: decades(&range),
        range,
        format: rate,
    };
    let title = format!("{}, uncontended: more is better", databases(servers));
    Ok(Some(panels(&title, &settings, &x, &y)?))
}

fn lines(results: &Results, servers: &[&str], cores: Cores) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for case in cases() {
        if case.part != Part::Cycle || !servers.contains(&case.server) {
            continue;
        }
        let Some(point) = point(results, cores, &case) else {
            continue;
        };
        let label = match case.subject {
            "raw" => format!("one raw connection, 1 task, {}", database(case.server)),
            subject => title(case.server, subject),
        };
        match lines.iter_mut().find(|line| line.label == label) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                label,
                style: style(case.server, case.subject),
                points: vec![point],
            }),
        }
        // A level, not a measurement of more tasks.
        if case.subject == "raw"
            && let Some(line) = lines.last_mut()
        {
            line.points.push((MOST, point.1));
        }
    }
    lines
}

fn point(results: &Results, cores: Cores, case: &Case) -> Option<(f64, f64)> {
    let rate = results.case(cores, &case.name())?.median("per second")?;
    Some(((case.tasks[0] as f64).log2(), rate.log10()))
}
