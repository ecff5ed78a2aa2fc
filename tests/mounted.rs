//! Every database has the contract mounted: a suite that is not mounted would pass.

use std::path::Path;
use std::{fs, iter};

const BACKENDS: &str = include_str!("backends/main.rs");

/// Modules of `backends` that are no database, or have a reason.
const WITHOUT_CONTRACT: [&str; 6] = [
    "ear",
    "invoices",
    "mock", // Its locks end with the process, and the contract needs several.
    "suite",
    "transport",
    "user_locks",
];

fn modules() -> impl Iterator<Item = &'static str> {
    let lines = BACKENDS.lines();
    lines.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
}

/// The file of this module, and those of its folder.
fn sources(module: &str) -> Vec<String> {
    let backends = Path::new(env!("CARGO_MANIFEST_DIR")).join("backends");
    let folder = fs::read_dir(backends.join(module)).into_iter().flatten();
    let files = folder.map(|entry| entry.expect("an entry").path());
    iter::once(backends.join(module).with_extension("rs"))
        .chain(files)
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect()
}

fn mounts(module: &str) -> bool {
    let starts = ["contract!", "contract_of_locks!"];
    let is_mount = |line: &str| starts.iter().any(|start| line.starts_with(start));
    sources(module)
        .iter()
        .any(|source| source.lines().any(is_mount))
}

#[test]
fn every_module_of_a_database_mounts_the_contract() {
    let missing: Vec<&str> = modules()
        .filter(|module| !WITHOUT_CONTRACT.contains(module) && !mounts(module))
        .collect();
    assert!(missing.is_empty(), "not mounted: {missing:?}");
    assert!(modules().count() > WITHOUT_CONTRACT.len());
}

#[test]
fn every_database_of_the_library_has_a_module() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dlock/src/backend");
    let folders = fs::read_dir(library).expect("the folders of the databases");
    // What a database makes of a key is its own.
    let databases = folders
        .map(|folder| folder.expect("a folder").path())
        .filter(|folder| folder.join("keys.rs").exists())
        .map(|folder| folder.file_name().expect("a name").display().to_string());
    let databases: Vec<String> = databases.collect();
    assert!(databases.len() >= 5, "{databases:?}");
    for database in databases {
        assert!(modules().any(|module| module == database), "{database}");
    }
}

/// Without this the ones above would prove nothing.
#[test]
fn a_module_without_the_contract_is_missed() {
    for module in WITHOUT_CONTRACT {
        assert!(!mounts(module), "{module}");
    }
}
