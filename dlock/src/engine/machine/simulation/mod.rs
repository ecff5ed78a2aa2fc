//! The machine against a model of a lock server, with virtual time: several processes, clients that
//! do everything a caller can do, and every fault that is known from real servers. One seed is one
//! run. `DLOCK_SIM_SEED=7` runs one seed, `DLOCK_SIM_SEEDS=100000` so many.

mod callers;
mod client;
mod faults;
mod handles;
mod process;
mod promises;
mod server;
mod tasks;
mod world;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use self::world::{Seen, World};

/// A rule of the machine that is swapped for a wrong one, to see that the simulation finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    ForgetRequeueAfterLoss,
    HandOverWithoutProof,
    ServeCancelledTicket,
    KeepLateGrant,
    StarveKey,
}

const EVENTS: u64 = 2000;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

/// Every case that the machine has to do with.
const CASES: [&str; 23] = [
    "granted",
    "granted inline",
    "handed over",
    "proved inline",
    "busy",
    "deadlock",
    "disputed",
    "failed",
    "begun anew",
    "released",
    "released too late",
    "met",
    "wait given up",
    "wait granted",
    "slice over",
    "wait stopped",
    "opened",
    "not opened",
    "killed",
    "lost",
    "refused",
    "runtime ended",
    "restarted",
];

/// Runs these seeds on all cores. Returns how often which case has occurred.
fn run(seeds: std::ops::Range<u64>) -> Seen {
    let next = AtomicU64::new(seeds.start);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let seeds_of_a_core = || {
        let mut all = Seen::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return all;
            }
            let world = || World::new(seed, None).run(EVENTS).clone();
            let seen = catch_unwind(AssertUnwindSafe(world));
            let seen = seen.unwrap_or_else(|_| panic!("replay it by DLOCK_SIM_SEED={seed}"));
            add(&mut all, seen);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(seeds_of_a_core)).collect();
        let mut all = Seen::new();
        for thread in threads {
            add(
                &mut all,
                thread.join().expect("a seed has failed, see above"),
            );
        }
        all
    })
}

fn add(all: &mut Seen, more: Seen) {
    for (case, count) in more {
        *all.entry(case).or_default() += count;
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = variable("DLOCK_SIM_SEED") {
        World::new(seed, None).run(EVENTS);
        return;
    }
    let seeds = variable("DLOCK_SIM_SEEDS").unwrap_or(2000);
    let seen = run(0..seeds);
    println!("{seeds} seeds: {seen:?}");
    assert!(seen["event"] >= seeds * EVENTS);
    let missing = CASES.iter().filter(|case| !seen.contains_key(*case));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "{seen:?}");
}

#[test]
fn one_seed_is_one_run() {
    let trace = |seed| {
        let mut world = World::new(seed, None);
        let seen = world.run(EVENTS).clone();
        (world.trace(), seen)
    };
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed));
    }
    assert_ne!(trace(1), trace(2));
}

/// By a promise that it breaks: the invariants are not looked at.
#[test]
fn each_planted_bug_is_found() {
    for (bug, broken) in [
        (Bug::ForgetRequeueAfterLoss, "free and waited for"),
        (Bug::HandOverWithoutProof, "granted unproved"),
        (Bug::ServeCancelledTicket, "a caller that is gone gets"),
        (Bug::KeepLateGrant, "something is left"),
        (Bug::StarveKey, "free and waited for"),
    ] {
        let is_found = |seed: &u64| {
            let world = || drop(World::new(*seed, Some(bug)).run(EVENTS).clone());
            let panic = catch_unwind(AssertUnwindSafe(world)).err();
            panic.is_some_and(|panic| match panic.downcast::<String>() {
                Ok(text) => text.contains(broken),
                Err(panic) => {
                    panic.is::<&str>() && *panic.downcast::<&str>().expect("a text") == broken
                }
            })
        };
        let found = (0..1000).find(is_found);
        println!("{bug:?} by seed {found:?}");
        assert!(found.is_some(), "no seed finds {bug:?}");
    }
}

/// Time, chance and I/O come from outside; of the seam it knows plain data.
#[test]
fn the_machine_knows_no_runtime_and_no_database() {
    const SEAM: [&str; 6] = [
        "Answer",
        "Answers",
        "Batch",
        "LONGEST_SLICE",
        "MAX_BATCH",
        "Request",
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/machine");
    let mut files = Vec::new();
    for folder in [folder.join("keys"), folder.join("sessions"), folder] {
        for entry in fs::read_dir(folder).expect("a folder of the machine") {
            let path = entry.expect("an entry").path();
            files.extend(path.is_file().then_some(path));
        }
    }
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        let source = &fs::read_to_string(&file).expect("a source");
        for word in [
            "tokio",
            "sea_orm",
            "sqlx",
            "Instant",
            "SystemTime",
            "async ",
            "Mutex",
        ] {
            assert!(!source.contains(word), "{word} in {}", file.display());
        }
        for path in source.split("crate::backend::").skip(1) {
            let names = path.split(';').next().unwrap_or_default();
            let mut names = names.trim_matches(['{', '}']).split(',').map(str::trim);
            assert!(names.all(|name| SEAM.contains(&name)), "{path}");
        }
    }
}
