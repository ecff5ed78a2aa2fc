//! How long hand-overs take, as the share of them that took less.

use dlock_bench_child::Result;

use crate::cores::Cores;
use crate::plan::{Part, cases};
use crate::report::frame::{Axis, Line, decades, panels, style};
use crate::report::{numbers, setting, title};
use crate::results::Results;
use crate::statistics::quantile;

/// So many points make a smooth curve.
const POINTS: usize = 120;

/// `None` without any numbers.
pub(super) fn ecdf(results: &Results, servers: &[&str]) -> Result<Option<String>> {
    let settings = results.settings.iter();
    let settings: Vec<_> = settings
        .map(|(cores, _)| (setting(*cores, results), lines(results, servers, *cores)))
        .collect();
    let points = settings
        .iter()
        .flat_map(|(_, lines)| lines)
        .flat_map(|line| &line.points);
    let times: Vec<_> = points.map(|(time, _)| *time).collect();
    let Some(most) = times.iter().copied().reduce(f64::max) else {
        return Ok(None);
    };
    let least = times.iter().copied().fold(most, f64::min);
    let range = least.floor()..most.ceil();
    let x = Axis {
        name: "from calling release in one process to having it in the other",
        labels: decades(&range),
        range,
        format: |exponent| {
            let time = numbers::time(10_f64.powf(*exponent) * 1.000_001);
            time.replace(".00", "").replace(".0", "")
        },
    };
    let y = Axis {
        name: "share of the hand-overs",
        range: 0.0..1.0,
        labels: 6,
        format: |share| numbers::percent(*share),
    };
    let title = "Hand-over between two processes: further left is better";
    Ok(Some(panels(title, &settings, &x, &y)?))
}

/// Those with a timeout look the same; the table has them.
fn lines(results: &Results, servers: &[&str], cores: Cores) -> Vec<Line> {
    let cases = cases().into_iter();
    let cases = cases.filter(|case| {
        case.part == Part::HandOver && !case.timeout && servers.contains(&case.server)
    });
    let lines = cases.filter_map(|case| {
        let times = &results.case(cores, &case.name())?.hand_overs;
        let points = (0..=POINTS).filter_map(|point| {
            let share = point as f64 / POINTS as f64;
            let time = quantile(times, share)?;
            // A hand-over that the clock could not see.
            Some((time.max(1e-6).log10(), share))
        });
        Some(Line {
            label: title(case.server, case.subject),
            style: style(case.server, case.subject),
            points: points.collect(),
        })
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}
