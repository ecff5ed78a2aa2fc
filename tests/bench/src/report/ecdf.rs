//! How long hand-overs take, as the share of them that took less.

use dlock_bench_child::Result;

use crate::cores::Cores;
use crate::plan::{Part, cases};
use crate::report::frame::{Axis, Line, decades, panels, style};
use crate::report::{databases, numbers, setting, title};
use crate::results::Results;
/// So many steps, of at least as many hand-overs as the slowest hundredth needs.
const STEPS: usize = 100;

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
    let title = format!(
        "{}, hand-over between two processes: further left is better",
        databases(servers)
    );
    Ok(Some(panels(&title, &settings, &x, &y)?))
}

/// Those with a timeout look the same; the table has them.
fn lines(results: &Results, servers: &[&str], cores: Cores) -> Vec<Line> {
    let cases = cases().into_iter();
    let cases = cases.filter(|case| {
        case.part == Part::HandOver && !case.timeout && servers.contains(&case.server)
    });
    let lines = cases.filter_map(|case| {
        let times = &results.case(cores, &case.name())?.hand_overs;
        Some(Line {
            label: title(case.server, case.subject),
            style: style(case.server, case.subject),
            points: steps(times),
        })
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// The share rises where a hand-over was, and nowhere between; none with fewer than these.
fn steps(times: &[f64]) -> Vec<(f64, f64)> {
    if times.len() < STEPS {
        return Vec::new();
    }
    // A hand-over that the clock could not see has no logarithm.
    let mut times: Vec<_> = times.iter().map(|time| time.max(1e-6).log10()).collect();
    times.sort_by(f64::total_cmp);
    let steps = (1..=STEPS).flat_map(|step| {
        let time = times[(step * times.len()).div_ceil(STEPS) - 1];
        [step - 1, step].map(|step| (time, step as f64 / STEPS as f64))
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_rises_in_steps() {
        let times: Vec<_> = (0..200)
            .map(|time| if time < 100 { 0.01 } else { 0.1 })
            .collect();
        let steps = steps(&times);
        assert_eq!(steps.len(), 2 * STEPS);
        assert!(
            steps
                .iter()
                .all(|(time, share)| (*time < -1.5) == (*share < 0.5) || *share == 0.5)
        );
        assert_eq!(steps.last(), Some(&(-1.0, 1.0)));
    }

    #[test]
    fn too_few_have_no_steps() {
        assert!(steps(&[0.01; 99]).is_empty());
    }
}
