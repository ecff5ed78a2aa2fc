//! The whole benchmark once, as short as it can be, on the servers that `tests/run` names. How fast anything is does not matter here.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{self, Command, Output};

/// A sample of each kind of work, and of each lock that is part of this program.
const CASES: &[&str] = &[
    "a/postgres/raw/1",
    "a/postgres/dlock/8",
    "a/postgres/sqlx/8",
    "a/redis/redis/8",
    "a/mariadb/dlock/8",
    "a/mysql/raw/1",
    "a/sqlite/dlock/8",
    "a2/postgres/raw/1",
    "a2/mysql/dlock/1",
    "b/postgres/dlock/64",
    "b/redis/redis+mutex/64",
    "c/postgres/dlock/16",
    "c2/mysql/dlock/64",
    "c3/postgres/raw/20",
    "c3/postgres/dlock/20",
    "d/postgres/raw/1",
    "d/postgres/dlock/1",
    "d/postgres/dlock/1/timeout",
    "f/mariadb/dlock/64",
    "f/postgres/sqlx/1",
    "attribute/postgres/with_dlock/1",
];

/// A folder to write to, which is removed with it.
struct Out(PathBuf);

impl Out {
    fn new(name: &str) -> Self {
        Self(env::temp_dir().join(format!("dlock-bench-{name}-{}", process::id())))
    }

    fn read(&self, file: &str) -> String {
        let path = self.0.join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // What is not there needs no removal.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bench(out: &Out, arguments: &[&str]) -> Output {
    for server in ["POSTGRES", "MARIADB", "MYSQL", "REDIS"] {
        dlock_tests::env(&format!("DLOCK_TEST_{server}_URL"));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlock-bench"));
    command.args(arguments).arg("--out").arg(&out.0);
    command.output().expect("the benchmark")
}

fn text(output: &Output) -> String {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{stdout}\n{stderr}")
}

#[test]
fn a_run_writes_a_report_with_charts() {
    let out = Out::new("report");
    let mut arguments = vec!["--rounds", "1", "--seconds", "0.1", "--rust-only"];
    for case in CASES {
        arguments.extend(["--only", case]);
    }
    let output = bench(&out, &arguments);
    assert!(output.status.success(), "{}", text(&output));
    let results: serde_json::Value =
        serde_json::from_str(&out.read("tests/bench/results.json")).unwrap();
    let measured = results["settings"][0][1].as_object().unwrap();
    let measured: BTreeSet<_> = measured
        .iter()
        .inspect(|(name, case)| plausible(name, case))
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(
        CASES.iter().all(|case| measured.contains(case)),
        "{measured:?}"
    );
    let report = out.read("BENCHMARKS.md");
    for words in [
        "## Goals",
        "## (a)",
        "## (d)",
        "sqlx PgAdvisoryLock",
        "Redis",
        "p99",
        "--seconds 0.1",
        "server postgres",
    ] {
        let words = words.strip_prefix("server ").unwrap_or(words);
        assert!(report.contains(words), "no {words} in\n{report}");
    }
    assert!(!report.contains("failed in"), "{report}");
    for chart in ["throughput-postgres", "hot-key", "hand-over-postgres"] {
        let svg = out.read(&format!("tests/bench/charts/{chart}.svg"));
        assert!(svg.starts_with("<svg") && svg.contains("dlock"), "{chart}");
    }
    let again = bench(&out, &["--again"]);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(out.read("BENCHMARKS.md"), report);
}

fn plausible(name: &str, case: &serde_json::Value) {
    let round = case["rounds"][0].as_object();
    let round = round.unwrap_or_else(|| panic!("{name}: {}", case["failure"]));
    let number = |number: &str| {
        let found = round.get(number).and_then(serde_json::Value::as_f64);
        found.unwrap_or_else(|| panic!("{name}: no {number} in {round:?}"))
    };
    if !name.starts_with("d/") {
        assert!(number("per second") > 0.0, "{name}: {round:?}");
        assert!(number("served") >= 1.0, "{name}: {round:?}");
    }
    if name.starts_with("d/") {
        // Too few in so short a sample for a p99.
        assert!(number("p50") > 0.0, "{name}: {round:?}");
    } else {
        assert!(number("p50") <= number("p99"), "{name}: {round:?}");
    }
    if name.starts_with("c3/") {
        let index = number("jain");
        assert!((0.0..=1.0).contains(&index), "{name}: {round:?}");
        assert!(number("longest wait") > 0.0, "{name}: {round:?}");
    }
    if name.starts_with("c2/") {
        let share = number("share of grants");
        assert!((0.0..=1.0).contains(&share), "{name}: {round:?}");
    }
}

#[test]
fn what_cannot_be_measured_is_told() {
    let out = Out::new("refused");
    let output = bench(&out, &["--only", "no such case", "--rust-only"]);
    assert!(!output.status.success());
    assert!(
        text(&output).contains("--only leaves nothing"),
        "{}",
        text(&output)
    );
}
