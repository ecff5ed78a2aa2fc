//! PARITY.md is true: it has every row, and the tests that it names are there and are run. So are
//! those that the guide names.

use std::fs;
use std::path::Path;

const PARITY: &str = include_str!("PARITY.md");

/// Of the guide, the chapter that names tests.
const POOLERS: &str = include_str!("../dlock/src/guide/poolers.md");

fn rows() -> Vec<&'static str> {
    let is_row = |line: &&str| {
        let number = line.strip_prefix("| ").and_then(|line| line.get(1..2));
        number.is_some_and(|digit| digit.starts_with(|c: char| c.is_ascii_digit()))
    };
    PARITY.lines().filter(is_row).collect()
}

/// Every `file::test` in backticks.
fn tests(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| {
        let (file, test) = quoted.split_once(".rs::")?;
        Some((&quoted[..file.len() + ".rs".len()], test))
    })
}

/// Whether a file has this test: of a suite that is mounted for several backends, its list of what is mounted has it, too.
fn has_test(file: &str, test: &str) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = match file.starts_with("dlock/") {
        true => here.join("..").join(file),
        false => here.join("backends").join(file),
    };
    let Ok(source) = fs::read_to_string(&path) else {
        return false;
    };
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let defined = lines.iter().position(|line| {
        let name = line.split_once("fn ").map(|(_, name)| name);
        let rest = name.and_then(|name| name.strip_prefix(test));
        rest.is_some_and(|rest| rest.starts_with(['(', '<']))
    });
    let Some(defined) = defined else {
        return false;
    };
    if !file.starts_with("suite/") && !file.starts_with("user_locks/") {
        return defined > 0
            && ["#[test]", "#[tokio::test"]
                .iter()
                .any(|test| lines[defined - 1].starts_with(test));
    }
    let list = fs::read_to_string(path.with_file_name("mod.rs")).unwrap_or_default();
    list.lines().any(|line| line.trim() == test)
}

#[test]
fn every_feature_has_its_row() {
    let numbers = |letter, last| (1..=last).map(move |number| format!("{letter}{number}"));
    let expected: Vec<String> = [numbers('A', 26), numbers('B', 11), numbers('C', 6)]
        .into_iter()
        .flatten()
        .collect();
    let cells: Vec<Vec<&str>> = rows()
        .iter()
        .map(|row| {
            row.split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ']))
                .collect()
        })
        .collect();
    let found: Vec<&str> = cells.iter().map(|cells| cells[0]).collect();
    assert_eq!(found, expected);
    for cells in &cells {
        assert_eq!(cells.len(), 4, "{cells:?}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let missing: Vec<(&str, &str)> = tests(PARITY)
        .chain(tests(POOLERS))
        .filter(|(file, test)| !has_test(file, test))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_set_up_of_the_guide_names_a_test() {
    let (_, table) = POOLERS.split_once("| set-up |").expect("the table");
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    let without: Vec<&str> = rows
        .clone()
        .filter(|row| tests(row).next().is_none())
        .collect();
    assert!(without.is_empty(), "{without:#?}");
    assert!(rows.count() > 20, "the table was cut");
}

/// But for what comes later, and for names.
#[test]
fn every_row_names_a_test_or_says_that_there_is_none() {
    let without: Vec<&str> = rows()
        .into_iter()
        .filter(|row| tests(row).next().is_none())
        .filter_map(|row| row.split(' ').nth(1))
        .collect();
    assert_eq!(without, ["A25", "B9", "B11"]);
}

/// Without this the ones above would prove nothing.
#[test]
fn a_test_that_is_not_there_is_missed() {
    for (file, test) in [
        ("postgres/nowhere.rs", "every_integer_is_itself"),
        ("postgres/keys.rs", "every_integer"),
        ("postgres/keys.rs", "rows"),
        ("suite/deadlines.rs", "every_wait_times_out"),
        ("dlock/src/backend/postgres/compat.rs", "postgres_lock"),
    ] {
        assert!(!has_test(file, test), "{file}::{test}");
    }
    assert!(has_test("postgres/keys.rs", "every_integer_is_itself"));
}
