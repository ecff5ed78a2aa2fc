//! Waiting for locks.

use std::time::{Duration, Instant};

use dlock_tds::{AppLocks, Mode, Server, SessionId, Status};
use tokio::task::JoinHandle;

use crate::client::{Client, app_locks, connect, get, mode, release, soon, spid};

/// A request that waits: its session, and in the end its client and what was returned.
struct Waiting {
    id: SessionId,
    done: JoinHandle<(Client, i32)>,
}

impl Waiting {
    async fn end(self) -> (Client, i32) {
        soon(self.done).await.unwrap()
    }
}

/// Asks, and comes back when the request waits.
async fn wait_for(
    server: &Server<AppLocks>,
    mut client: Client,
    name: &'static str,
    mode: &'static str,
    limit: i32,
) -> Waiting {
    let id = spid(&mut client).await;
    let done = tokio::spawn(async move {
        let code = get(&mut client, name, mode, limit).await;
        (client, code)
    });
    soon(server.locks().until(|entries| {
        entries.iter().any(|entry| {
            entry.session == id && entry.name == name && entry.status != Status::Granted
        })
    }))
    .await;
    Waiting { id, done }
}

async fn holding(server: &Server<AppLocks>, name: &str, mode: &str) -> Client {
    let mut client = connect(server).await;
    assert_eq!(get(&mut client, name, mode, 0).await, 0);
    client
}

fn line(server: &Server<AppLocks>, name: &str) -> Vec<SessionId> {
    server
        .locks()
        .waiters(name)
        .iter()
        .map(|entry| entry.session)
        .collect()
}

#[tokio::test]
async fn who_waits_is_served_when_the_lock_is_released() {
    let server = app_locks().await;
    let mut holder = holding(&server, "q", "Exclusive").await;
    let waiting = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    assert_eq!(release(&mut holder, "q").await.unwrap(), 0);
    let (mut client, code) = waiting.end().await;
    assert_eq!(code, 1);
    assert_eq!(mode(&mut client, "q").await, "Exclusive");
    assert_eq!(mode(&mut holder, "q").await, "NoLock");
}

#[tokio::test]
async fn who_waits_with_a_limit_is_served_within_it() {
    let server = app_locks().await;
    let mut holder = holding(&server, "q", "Exclusive").await;
    let waiting = wait_for(&server, connect(&server).await, "q", "Exclusive", 600_000).await;
    assert_eq!(release(&mut holder, "q").await.unwrap(), 0);
    assert_eq!(waiting.end().await.1, 1);
}

#[tokio::test]
async fn who_waits_longer_than_its_limit_gets_nothing() {
    let server = app_locks().await;
    let _holder = holding(&server, "q", "Exclusive").await;
    let mut client = connect(&server).await;
    for (limit, least) in [(0, 0), (1, 1), (700, 700)] {
        let start = Instant::now();
        assert_eq!(get(&mut client, "q", "Shared", limit).await, -1);
        let waited = start.elapsed();
        assert!(
            waited >= Duration::from_millis(least),
            "{waited:?} for {limit} ms"
        );
        assert!(
            waited < Duration::from_secs(30),
            "{waited:?} for {limit} ms"
        );
        assert!(server.locks().waiters("q").is_empty());
    }
}

#[tokio::test]
async fn the_line_is_served_in_its_order() {
    let server = app_locks().await;
    let mut holder = holding(&server, "q", "Exclusive").await;
    let first = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    let second = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    let third = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    assert_eq!(line(&server, "q"), [first.id, second.id, third.id]);
    let mut left = vec![third, second, first];
    while let Some(next) = left.pop() {
        release(&mut holder, "q").await.unwrap();
        let (client, code) = next.end().await;
        assert_eq!((code, line(&server, "q").len()), (1, left.len()));
        holder = client;
    }
}

#[tokio::test]
async fn those_who_can_hold_it_together_are_served_together() {
    let server = app_locks().await;
    let mut holder = holding(&server, "q", "Exclusive").await;
    let mut waiting = Vec::new();
    for mode in ["Shared", "Update", "Shared", "Exclusive", "Shared"] {
        waiting.push(wait_for(&server, connect(&server).await, "q", mode, -1).await);
    }
    let last: Vec<SessionId> = waiting[3..].iter().map(|waiting| waiting.id).collect();
    release(&mut holder, "q").await.unwrap();
    let mut clients = Vec::new();
    for waiting in waiting.drain(..3) {
        let (client, code) = waiting.end().await;
        assert_eq!(code, 1);
        clients.push(client);
    }
    // The last one could stand beside the holders, but not beside who stands before it.
    assert_eq!(line(&server, "q"), last);
    assert_eq!(server.locks().holders("q").len(), 3);
}

#[tokio::test]
async fn a_new_request_does_not_overtake_one_that_it_would_be_in_the_way_of() {
    let server = app_locks().await;
    let mut holder = holding(&server, "q", "Shared").await;
    let writer = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    let mut reader = connect(&server).await;
    assert_eq!(get(&mut reader, "q", "Shared", 0).await, -1);
    // Who holds it already is not in the line.
    assert_eq!(get(&mut holder, "q", "Shared", 0).await, 0);
    release(&mut holder, "q").await.unwrap();
    release(&mut holder, "q").await.unwrap();
    assert_eq!(writer.end().await.1, 1);
}

#[tokio::test]
async fn a_new_request_overtakes_one_that_it_is_not_in_the_way_of() {
    let server = app_locks().await;
    let _holder = holding(&server, "q", "Update").await;
    let _updater = wait_for(&server, connect(&server).await, "q", "Update", -1).await;
    assert_eq!(get(&mut connect(&server).await, "q", "Shared", 0).await, 0);
}

#[tokio::test]
async fn a_conversion_waits_for_the_others_and_goes_before_the_line() {
    let server = app_locks().await;
    let (converting, mut other) = (
        holding(&server, "q", "Shared").await,
        holding(&server, "q", "Shared").await,
    );
    let new = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    let converting = wait_for(&server, converting, "q", "Exclusive", -1).await;
    let waiters = server.locks().waiters("q");
    assert_eq!(
        waiters
            .iter()
            .map(|entry| (entry.session, entry.status))
            .collect::<Vec<_>>(),
        [
            (converting.id, Status::Converting),
            (new.id, Status::Waiting)
        ]
    );
    release(&mut other, "q").await.unwrap();
    let (mut client, code) = converting.end().await;
    assert_eq!(
        (code, mode(&mut client, "q").await.as_str()),
        (1, "Exclusive")
    );
    assert_eq!(line(&server, "q"), [new.id]);
    // Taken twice, so released twice.
    release(&mut client, "q").await.unwrap();
    assert_eq!(
        (line(&server, "q"), server.locks().holders("q")[0].mode),
        (vec![new.id], Mode::Exclusive)
    );
    release(&mut client, "q").await.unwrap();
    assert_eq!(new.end().await.1, 1);
}

#[tokio::test]
async fn a_conversion_that_runs_out_of_time_leaves_the_weaker_mode() {
    let server = app_locks().await;
    let (mut client, _other) = (
        holding(&server, "q", "Shared").await,
        holding(&server, "q", "Shared").await,
    );
    assert_eq!(get(&mut client, "q", "Exclusive", 100).await, -1);
    assert_eq!(mode(&mut client, "q").await, "Shared");
    release(&mut client, "q").await.unwrap();
    assert_eq!(mode(&mut client, "q").await, "NoLock");
}

#[tokio::test]
async fn who_runs_out_of_time_lets_those_behind_it_go_on() {
    let server = app_locks().await;
    let _holder = holding(&server, "q", "Shared").await;
    let writer = wait_for(&server, connect(&server).await, "q", "Exclusive", 1500).await;
    let reader = wait_for(&server, connect(&server).await, "q", "Shared", -1).await;
    // Its session goes on: it is not its end that serves the others.
    let (_writer, code) = writer.end().await;
    assert_eq!(code, -1);
    assert_eq!(reader.end().await.1, 1);
}

#[tokio::test]
async fn who_closes_a_circle_is_its_victim() {
    let server = app_locks().await;
    let (first, mut second) = (
        holding(&server, "a", "Exclusive").await,
        holding(&server, "b", "Exclusive").await,
    );
    let waiting = wait_for(&server, first, "b", "Exclusive", -1).await;
    assert_eq!(get(&mut second, "a", "Exclusive", 600_000).await, -3);
    // It keeps what it has, and waits no more.
    assert_eq!(mode(&mut second, "b").await, "Exclusive");
    assert!(server.locks().waiters("a").is_empty());
    release(&mut second, "b").await.unwrap();
    assert_eq!(waiting.end().await.1, 1);
}

#[tokio::test]
async fn circles_of_three_and_of_conversions_are_found() {
    let server = app_locks().await;
    let (a, b, mut c) = (
        holding(&server, "a", "Exclusive").await,
        holding(&server, "b", "Exclusive").await,
        holding(&server, "c", "Exclusive").await,
    );
    let _a = wait_for(&server, a, "b", "Exclusive", -1).await;
    let _b = wait_for(&server, b, "c", "Shared", -1).await;
    assert_eq!(get(&mut c, "a", "Update", -1).await, -3);
    let (first, mut second) = (
        holding(&server, "s", "Shared").await,
        holding(&server, "s", "Shared").await,
    );
    let first = wait_for(&server, first, "s", "Exclusive", -1).await;
    assert_eq!(get(&mut second, "s", "Exclusive", -1).await, -3);
    release(&mut second, "s").await.unwrap();
    assert_eq!(first.end().await.1, 1);
}

#[tokio::test]
async fn a_circle_through_the_line_is_found() {
    let server = app_locks().await;
    let (reader, mut other) = (
        holding(&server, "a", "Shared").await,
        holding(&server, "b", "Exclusive").await,
    );
    let writer = wait_for(&server, connect(&server).await, "a", "Exclusive", -1).await;
    let _reader = wait_for(&server, reader, "b", "Exclusive", -1).await;
    // It would wait for the writer, that for the reader, and that for it.
    assert_eq!(get(&mut other, "a", "Shared", -1).await, -3);
    assert_eq!(line(&server, "a"), [writer.id]);
}

#[tokio::test]
async fn a_chain_is_no_circle() {
    let server = app_locks().await;
    let (mut first, second) = (
        holding(&server, "a", "Exclusive").await,
        holding(&server, "b", "Exclusive").await,
    );
    let second = wait_for(&server, second, "a", "Exclusive", -1).await;
    let third = wait_for(&server, connect(&server).await, "b", "Exclusive", -1).await;
    assert_eq!(get(&mut first, "c", "Exclusive", -1).await, 0);
    release(&mut first, "a").await.unwrap();
    let (mut client, code) = second.end().await;
    assert_eq!(code, 1);
    release(&mut client, "b").await.unwrap();
    assert_eq!(third.end().await.1, 1);
}

#[tokio::test]
async fn a_holder_that_ends_serves_the_line() {
    let server = app_locks().await;
    let holder = holding(&server, "q", "Exclusive").await;
    let waiting = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    drop(holder);
    assert_eq!(waiting.end().await.1, 1);
}

#[tokio::test]
async fn who_ends_while_it_waits_leaves_the_line() {
    let server = app_locks().await;
    let mut holder = holding(&server, "q", "Exclusive").await;
    let gone = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    let next = wait_for(&server, connect(&server).await, "q", "Exclusive", -1).await;
    gone.done.abort();
    soon(server.sessions().ended(gone.id)).await;
    assert_eq!(line(&server, "q"), [next.id]);
    release(&mut holder, "q").await.unwrap();
    assert_eq!(next.end().await.1, 1);
}

#[tokio::test]
async fn who_withdraws_its_request_leaves_the_line_and_keeps_its_session() {
    let server = app_locks().await;
    let _holder = holding(&server, "q", "Exclusive").await;
    let mut client = connect(&server).await;
    let id = spid(&mut client).await;
    {
        let get = std::pin::pin!(get(&mut client, "q", "Exclusive", -1));
        tokio::select! {
            code = get => panic!("it does not wait: {code}"),
            () = soon(server.locks().until_waiting("q", 1)) => {}
        }
    }
    soon(client.cancel_query()).await.unwrap();
    assert!(server.locks().waiters("q").is_empty());
    assert_eq!(spid(&mut client).await, id);
}

#[tokio::test]
async fn many_sessions_that_take_turns_never_hold_it_together() {
    let server = app_locks().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(connect(&server).await);
    }
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicI32::new(0));
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(turns(client, inside.clone())))
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert!(server.locks().entries().is_empty());
}

async fn turns(mut client: Client, inside: std::sync::Arc<std::sync::atomic::AtomicI32>) {
    use std::sync::atomic::Ordering::SeqCst;
    for _ in 0..25 {
        assert!(get(&mut client, "turns", "Exclusive", -1).await >= 0);
        assert_eq!(inside.fetch_add(1, SeqCst), 0);
        tokio::task::yield_now().await;
        assert_eq!(inside.fetch_sub(1, SeqCst), 1);
        release(&mut client, "turns").await.unwrap();
    }
}
