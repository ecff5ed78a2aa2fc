//! What was measured, as text, Markdown and charts.

mod curves;
mod dots;
mod ecdf;
mod frame;
mod glance;
mod goals;
mod markdown;
mod notes;
mod numbers;
mod tables;

pub(crate) use self::tables::grouped;

use std::fs;

use dlock_bench_child::Result;

use crate::cores::Cores;
use crate::options::Options;
use crate::results::Results;

/// Writes `BENCHMARKS.md` and its charts, and returns the tables for the terminal.
///
/// # Errors
///
/// What cannot be written.
pub fn report(options: &Options, results: &Results) -> Result<String> {
    let charts = options.charts();
    fs::create_dir_all(&charts)?;
    let mut drawn = Vec::new();
    for (file, title, svg) in draw(results)? {
        fs::write(charts.join(file), svg)?;
        drawn.push((file, title));
    }
    let path = options.out.join("BENCHMARKS.md");
    fs::write(&path, markdown::markdown(results, &drawn))?;
    let path = path.canonicalize()?;
    Ok(format!(
        "{}\nmore in {}\n",
        tables::plain(results),
        path.display()
    ))
}

/// Files, what is in them, and the charts themselves; without those that would be empty.
fn draw(results: &Results) -> Result<Vec<(&'static str, &'static str, String)>> {
    let charts = [
        (
            "throughput-postgres.svg",
            "Cycles per second over tasks, PostgreSQL and Redis",
            curves::curves(results, &["postgres", "redis"])?,
        ),
        (
            "throughput-mysql.svg",
            "Cycles per second over tasks, MariaDB and MySQL",
            curves::curves(results, &["mariadb", "mysql"])?,
        ),
        (
            "hot-key.svg",
            "One hot key, 64 tasks in one process",
            dots::dots(results)?,
        ),
        (
            "hand-over-postgres.svg",
            "From release in one process to acquire in another, PostgreSQL and Redis",
            ecdf::ecdf(results, &["postgres", "redis"])?,
        ),
        (
            "hand-over-mysql.svg",
            "From release in one process to acquire in another, MariaDB and MySQL",
            ecdf::ecdf(results, &["mariadb", "mysql"])?,
        ),
    ];
    let there = charts
        .into_iter()
        .filter_map(|(file, title, svg)| Some((file, title, svg?)));
    Ok(there.collect())
}

/// What a setting is called.
pub(crate) fn setting(cores: Cores, results: &Results) -> String {
    match (cores, results.machine.cores) {
        (Cores::One, _) => "one core".to_owned(),
        (Cores::All, 1) => "one core, as it comes".to_owned(),
        (Cores::All, 2) => "two cores".to_owned(),
        (Cores::All, cores) => format!("{cores} cores"),
    }
}

/// What a subject is called.
pub(crate) fn title(server: &str, subject: &str) -> String {
    match (server, subject) {
        (_, "sqlx") => "sqlx PgAdvisoryLock, pool of 10".to_owned(),
        (_, "sqlx+test") => "sqlx PgAdvisoryLock, tested before each acquire".to_owned(),
        (_, "redis") => "Redis, retry each 100 ms".to_owned(),
        (_, "redis+mutex") => "Redis behind a tokio Mutex".to_owned(),
        (_, "with_dlock") => "#[with_dlock]".to_owned(),
        (server, subject @ ("raw" | "dlock" | "distributed-lock")) => {
            format!("{subject}, {}", database(server))
        }
        (_, subject) => subject.to_owned(),
    }
}

/// As the title of a chart names them.
fn databases(servers: &[&str]) -> String {
    let names: Vec<_> = servers.iter().map(|server| database(server)).collect();
    names.join(", ")
}

pub(crate) fn database(server: &str) -> &str {
    match server {
        "postgres" => "PostgreSQL",
        "mariadb" => "MariaDB",
        "mysql" => "MySQL",
        "sqlite" => "SQLite",
        "redis" => "Redis",
        other => other,
    }
}
