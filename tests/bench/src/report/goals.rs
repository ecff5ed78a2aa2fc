//! The table of the goals.

use crate::goals::{Bound, JAIN, goals};
use crate::report::{numbers, setting};
use crate::results::Results;

/// Rows of work, setting, goal, measured, the least and the greatest of the rounds, met.
pub(super) fn rows(results: &Results) -> Vec<[String; 6]> {
    let goals = goals(results).into_iter();
    goals
        .map(|goal| {
            let share = goal.what.starts_with("of ");
            let number = |number: f64| match share {
                // 39.9 % is less than 40 %.
                true => format!("{:.1} %", number * 100.0),
                // 0.968 is less than 0.97.
                false if goal.what == JAIN => numbers::index(number),
                false if number >= 1_000.0 => numbers::count(number),
                false => numbers::ratio(number),
            };
            let bound = match goal.bound {
                Bound::AtLeast(bound) => format!("≥ {}", plain(bound, share)),
                Bound::AtMost(bound) => format!("≤ {}", plain(bound, share)),
            };
            let met = match goal.measured {
                None => "not measured",
                Some(measured) if goal.bound.is_met(measured) => "yes",
                Some(_) => "**no**",
            };
            let noise = match goal.measured.is_some() && goal.is_within_noise() {
                true => ", within the noise",
                false => "",
            };
            let rounds = goal
                .spread
                .map(|(least, greatest)| format!("{} – {}", number(least), number(greatest)));
            let unknown = || "–".to_owned();
            [
                goal.work,
                setting(goal.cores, results),
                format!("{bound} {}", goal.what),
                goal.measured.map_or_else(unknown, number),
                rounds.unwrap_or_else(unknown),
                format!("{met}{noise}"),
            ]
        })
        .collect()
}

/// As the issue writes it.
fn plain(bound: f64, share: bool) -> String {
    if share {
        numbers::percent(bound)
    } else {
        bound.to_string()
    }
}
