//! Heap for each lock that is held and for each caller that waits, and what `#[with_dlock]` allocates. Apart from the speed, which the counting would disturb.

use std::time::Duration;

use dhat::HeapStats;
use dlock::{DLockExt, DLockGuard, Error, LockPool};
use dlock_bench::{HELD, Heap, Server, by_attribute, by_hand};
use dlock_tests::connect;
use sea_orm::{DatabaseConnection, DbBackend, MockDatabase};
use tokio::task::JoinSet;
use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// So many locks, and so many waiters.
const MANY: usize = 10_000;

/// So many calls of a function under a lock.
const CALLS: u64 = 1_000;

const GOAL: &str = "2048 or less";

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` only wants to see it start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let _profiler = dhat::Profiler::builder().testing().build();
    for server in Server::databases() {
        let url = &server.url;
        let print = |what, bytes| print(server.name, what, bytes, GOAL);
        print(HELD, held(url).await);
        print(
            "bytes for a waiter and its task, all on one key",
            waiting(url, 1).await,
        );
        print(
            "bytes for a waiter and its task, each on its key",
            waiting(url, MANY).await,
        );
    }
    let db = MockDatabase::new(DbBackend::Postgres).into_connection();
    let hand = allocations(async |number| by_hand(&db, number).await).await;
    let attribute = allocations(async |number| by_attribute(&db, number).await).await;
    print("mock", "allocations of a call by hand", hand, "");
    let goal = "none more than by hand";
    print(
        "mock",
        "allocations of a call of #[with_dlock]",
        attribute,
        goal,
    );
    let (hand, attribute) = (
        size_of_val(&by_hand(&db, 0)),
        size_of_val(&by_attribute(&db, 0)),
    );
    print("mock", "bytes of the future of a call by hand", hand, "");
    print(
        "mock",
        "bytes of the future of a call of #[with_dlock]",
        attribute,
        "",
    );
}

/// A line to read, or, with `--json`, one for the program that writes the report.
fn print(server: &str, what: &str, count: usize, goal: &str) {
    if std::env::args().any(|argument| argument == "--json") {
        let heap = Heap {
            server: server.to_owned(),
            what: what.to_owned(),
            count,
        };
        println!("{}", serde_json::to_string(&heap).expect("plain data"));
    } else {
        println!("{server:10} {what:50} {count:>6}   {goal}");
    }
}

/// For each of many calls, when all has grown to its size.
async fn allocations(call: impl AsyncFn(u64) -> Result<u64, Error>) -> usize {
    let mut before = 0;
    for number in 0..2 * CALLS {
        if number == CALLS {
            before = HeapStats::get().total_blocks;
        }
        call(number).await.expect("nobody else has it");
    }
    ((HeapStats::get().total_blocks - before) / CALLS) as usize
}

/// Bytes for each of many locks.
async fn held(url: &str) -> usize {
    let db = connect_with_sessions(url).await;
    let before = heap();
    let guards = hold(&db, MANY).await;
    let after = heap();
    drop(guards);
    LockPool::of(&db).close().await;
    (after - before) / MANY
}

/// Bytes for each of many waiters on so many keys that somebody else holds.
async fn waiting(url: &str, keys: usize) -> usize {
    let (holder, db) = (
        connect_with_sessions(url).await,
        connect_with_sessions(url).await,
    );
    let guards = hold(&holder, keys).await;
    let before = heap();
    let waiters: JoinSet<_> = (0..MANY)
        .map(|waiter| {
            let db = db.clone();
            async move { db.dlock(key(waiter % keys)).await }
        })
        .collect();
    while LockPool::of(&db).status().waiters < MANY {
        sleep(Duration::from_millis(1)).await;
    }
    // They try again from time to time.
    let mut most = 0;
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        most = most.max(heap());
    }
    drop(waiters);
    drop(guards);
    for db in [db, holder] {
        LockPool::of(&db).close().await;
    }
    (most - before) / MANY
}

async fn connect_with_sessions(url: &str) -> DatabaseConnection {
    let db = connect(url, 1).await;
    LockPool::builder(&db).max_sessions(20).install();
    db
}

fn key(lock: usize) -> String {
    format!("heap/{lock}")
}

async fn hold(db: &DatabaseConnection, locks: usize) -> Vec<DLockGuard> {
    let locks: JoinSet<_> = (0..locks)
        .map(|lock| {
            let db = db.clone();
            async move { db.dlock(key(lock)).await.expect("a lock") }
        })
        .collect();
    locks.join_all().await
}

/// Bytes that the program has asked for and not given back.
fn heap() -> usize {
    HeapStats::get().curr_bytes
}
