//! How many times as fast as the others dlock is on PostgreSQL, for README, which has a copy of this table.

use crate::plan::{Part, name};
use crate::report::{numbers, setting};
use crate::results::Results;
use crate::statistics::median;

const OTHERS: [(&str, &str); 6] = [
    ("raw", "one raw connection, 1 task"),
    ("sqlx", "sqlx's `PgAdvisoryLock` on a pool of 10"),
    ("distributed-lock", "the crate `distributed-lock`"),
    ("redis", "Redis"),
    ("sqlalchemy-dlock/asyncpg", "sqlalchemy-dlock on asyncpg"),
    ("sqlalchemy-dlock/psycopg2", "sqlalchemy-dlock on psycopg2"),
];

/// The first names the columns; without those that were not measured.
pub(super) fn rows(results: &Results) -> Vec<Vec<String>> {
    let settings = results.settings.iter();
    let columns = settings.map(|(cores, _)| setting(*cores, results));
    let head = ["dlock against", "tasks"].map(str::to_owned);
    let mut rows = vec![head.into_iter().chain(columns).collect()];
    for (other, title) in OTHERS {
        for (tasks, [ours, theirs]) in cases(other) {
            let cells: Vec<_> = results
                .settings
                .iter()
                .map(|(cores, _)| {
                    let number = "per second";
                    median(&results.ratios(*cores, (&ours, number), (&theirs, number)))
                })
                .collect();
            if cells.iter().any(Option::is_some) {
                let cells = cells
                    .into_iter()
                    .map(|cell| cell.map_or_else(|| "–".to_owned(), numbers::ratio));
                let first = [title, tasks].map(str::to_owned);
                rows.push(first.into_iter().chain(cells).collect());
            }
        }
    }
    rows
}

/// What the tasks do, and the names of dlock's case and the other's.
fn cases(other: &str) -> [(&'static str, [String; 2]); 3] {
    let server = if other == "redis" {
        "redis"
    } else {
        "postgres"
    };
    let both = |part, tasks| {
        [("postgres", "dlock"), (server, other)]
            .map(|(server, subject)| name(part, server, subject, tasks, false))
    };
    let [ours, of_64] = both(Part::Cycle, 64);
    let of_64 = match other {
        // One connection does as much for 64 tasks as for one.
        "raw" => name(Part::Cycle, server, other, 1, false),
        _ => of_64,
    };
    // Redis serves a few of the 64 only, unless each has to have it.
    let hot = match other {
        "redis" => ("64, one key, 10 times each", both(Part::Each, 64)),
        "raw" => ("64, one key, a connection for each", both(Part::Hot, 64)),
        _ => ("64, one key", both(Part::Hot, 64)),
    };
    [("1", both(Part::Cycle, 1)), ("64", [ours, of_64]), hot]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{self, Case};

    #[test]
    fn each_ratio_is_of_cases_of_the_plan() {
        let names: Vec<_> = plan::cases().iter().map(Case::name).collect();
        for (other, _) in OTHERS {
            for name in cases(other).into_iter().flat_map(|(_, cases)| cases) {
                assert!(names.contains(&name), "{name}");
            }
        }
    }
}
