//! How fast dlock is, as ratios to a raw connection of sqlx that locks and unlocks on the same server at the same time. `cargo bench` runs it and prints a table; nothing
//! here fails for being slow.
//!
//! Machines are noisy, so each sample measures one side and then the other, and the table has the medians of the samples and of their ratios. The number of samples,
//! their length, the warm-up and the comparison with the run before are Criterion's. (Divan has no samples of one's own.)

mod raw;
mod samples;
mod table;

use std::sync::Arc;
use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use dlock::{DLockExt, DLockGuard, LockPool};
use dlock_bench::{Server, by_attribute, by_hand};
use dlock_tests::connect;
use sea_orm::DatabaseConnection;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::raw::Raw;
use self::samples::{Sample, take};
use self::table::Ratio::{Faster, Slower};
use self::table::{Row, Table};

fn main() {
    // `cargo test --all-targets` only wants to see it start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    let runtime = Runtime::new().expect("a runtime");
    let mut table = Table::default();
    for server in Server::all() {
        let mut group = criterion.benchmark_group(server.name);
        group.sampling_mode(SamplingMode::Flat);
        against_raw(&mut group, &runtime, &server, &mut table);
        with_many(&mut group, &runtime, &server, &mut table);
        group.finish();
    }
    criterion.final_summary();
    println!("\n{table}");
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn against_raw(group: &mut Group<'_>, runtime: &Runtime, server: &Server, table: &mut Table) {
    let raw = runtime.block_on(Raw::connect(&server.url));
    let raw = Arc::new(Mutex::new(raw.expect("a raw connection")));
    let raw = |cycles| in_task(runtime, raw_cycles(Arc::clone(&raw), cycles));
    let db = runtime.block_on(connect_with(&server.url, 1));
    let ours = |tasks, cycles| in_task(runtime, cycles_of(db.clone(), tasks, cycles));

    let work = "cycle, 1 task";
    let samples = take(group, work, |cycles| Sample {
        other: Some(raw(cycles)),
        ours: ours(1, cycles),
    });
    let work = (server.name, work);
    table.add(Row::compared(work, &samples, "raw", Faster, "at least 0.9"));

    let work = "cycle, 64 tasks on 1 session";
    let samples = take(group, work, |cycles| Sample {
        other: Some(raw(cycles.div_ceil(8))),
        ours: ours(64, cycles),
    });
    let work = (server.name, work);
    table.add(Row::compared(work, &samples, "raw", Faster, "at least 8"));

    let work = "function with #[with_dlock]";
    let samples = take(group, work, |calls| Sample {
        other: Some(in_task(runtime, calls_by_hand(db.clone(), calls))),
        ours: in_task(runtime, calls_by_attribute(db.clone(), calls)),
    });
    let work = (server.name, work);
    table.add(Row::compared(work, &samples, "by hand", Faster, "1"));
}

/// Cycles before and after many locks are acquired.
fn with_many(group: &mut Group<'_>, runtime: &Runtime, server: &Server, table: &mut Table) {
    let mut cycles = Vec::new();
    let acquired = "10,000 locks acquired";
    group.sample_size(10);
    let samples = take(group, acquired, |rounds| {
        let mut seconds = 0.0;
        for _ in 0..rounds {
            let db = runtime.block_on(connect_with(&server.url, 20));
            let cycle = || {
                // New sessions, and the last round's on their way out, disturb the first cycles.
                in_task(runtime, cycles_of(db.clone(), 1, 1_000));
                in_task(runtime, cycles_of(db.clone(), 1, 1_000))
            };
            let few = runtime.block_on(hold(&db, "few", 10));
            let with_few = cycle();
            let start = Instant::now();
            let many = runtime.block_on(hold(&db, "many", 10_000));
            seconds += start.elapsed().as_secs_f64();
            cycles.push(Sample {
                other: Some(with_few),
                ours: cycle(),
            });
            drop((few, many));
            runtime.block_on(LockPool::of(&db).close());
        }
        Sample {
            other: None,
            ours: seconds / rounds as f64,
        }
    });
    table.add(Row::alone((server.name, acquired), &samples, "under 2 s"));
    let work = (server.name, "cycle, 10,000 locks held");
    table.add(Row::compared(
        work,
        &cycles,
        "10 held",
        Slower,
        "at most 1.5",
    ));
}

/// A connection like an application's, whose locks are on so many sessions.
async fn connect_with(url: &str, max_sessions: usize) -> DatabaseConnection {
    let db = connect(url, 1).await;
    LockPool::builder(&db).max_sessions(max_sessions).install();
    db
}

/// Where the handlers of a service run, too.
fn in_task(runtime: &Runtime, work: impl Future<Output = f64> + Send + 'static) -> f64 {
    runtime.block_on(runtime.spawn(work)).expect("a panic")
}

/// Seconds for each of so many cycles.
async fn raw_cycles(raw: Arc<Mutex<Raw>>, cycles: u64) -> f64 {
    let mut raw = raw.lock().await;
    let start = Instant::now();
    for _ in 0..cycles {
        raw.cycle().await.expect("a raw cycle");
    }
    start.elapsed().as_secs_f64() / cycles as f64
}

/// Seconds for each of so many cycles or a few more, in tasks with a key each.
async fn cycles_of(db: DatabaseConnection, tasks: u64, cycles: u64) -> f64 {
    let each = cycles.div_ceil(tasks);
    let start = Instant::now();
    let tasks: JoinSet<_> = (0..tasks)
        .map(|task| {
            let (db, key) = (db.clone(), format!("cycle/{task}"));
            async move {
                for _ in 0..each {
                    let guard = db.dlock(&key).await.expect("a lock");
                    guard.release().await.expect("a release");
                }
            }
        })
        .collect();
    let cycles = each * tasks.len() as u64;
    tasks.join_all().await;
    start.elapsed().as_secs_f64() / cycles as f64
}

async fn calls_by_hand(db: DatabaseConnection, calls: u64) -> f64 {
    let start = Instant::now();
    for call in 0..calls {
        by_hand(&db, call).await.expect("a lock");
    }
    start.elapsed().as_secs_f64() / calls as f64
}

async fn calls_by_attribute(db: DatabaseConnection, calls: u64) -> f64 {
    let start = Instant::now();
    for call in 0..calls {
        by_attribute(&db, call).await.expect("a lock");
    }
    start.elapsed().as_secs_f64() / calls as f64
}

/// Acquires so many locks at a time.
async fn hold(db: &DatabaseConnection, name: &str, locks: usize) -> Vec<DLockGuard> {
    let locks: JoinSet<_> = (0..locks)
        .map(|lock| {
            let (db, key) = (db.clone(), format!("{name}/{lock}"));
            async move { db.dlock(key).await.expect("a lock") }
        })
        .collect();
    locks.join_all().await
}
