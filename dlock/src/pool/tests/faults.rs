//! When things go wrong.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::fake::{Fault, Server};
use super::{MS, acquire, acquire_later, config, exclusive, exclusive_later, name};
use crate::error::{Error, Phase};
use crate::mode::Mode;
use crate::pool::config::Config;

#[tokio::test(start_paused = true)]
async fn a_dead_session_is_noticed_and_a_stale_guard_harms_nobody() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let stale = exclusive(&pool, 1).await;
    let next = exclusive_later(&pool, 1);
    sleep(MS).await;
    server.kill_holder(1);
    stale.lost().await;
    let next = next.await.unwrap();
    assert!(next.is_held());
    drop(stale);
    sleep(10 * MS).await;
    assert_eq!(server.held(), 1);
    assert!(next.release(&name()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn release_says_so_when_the_lock_was_lost() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    server.inject([Fault::DieBefore]);
    assert!(guard.release(&name()).await.is_err());
    server.until(|server| server.held() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_dies_with_a_request_is_replaced() {
    let server = Server::new();
    let pool = server.pool("a", config());
    drop(exclusive(&pool, 1).await);
    sleep(MS).await;
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        server.inject([fault]);
        let guard = exclusive(&pool, 1).await;
        assert!(guard.release(&name()).await.is_ok());
    }
    assert_eq!(pool.status().counters.sessions_lost, 2);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_never_answer_anything_end_in_an_error() {
    let server = Server::new();
    let pool = server.pool("a", config());
    server.inject([Fault::DieBefore; 3]);
    let error = acquire(&pool, 1, Mode::Exclusive, None).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Database {
                phase: Phase::Connect,
                ..
            }
        ),
        "{error:?}"
    );
    drop(exclusive(&pool, 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_fails_alone() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let held = exclusive(&pool, 1).await;
    server.inject([Fault::Fail]);
    let error = acquire(&pool, 2, Mode::Exclusive, None).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Database {
                phase: Phase::Acquire,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(held.is_held());
    drop(exclusive(&pool, 2).await);
    assert!(held.release(&name()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_within_the_keepalive() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    server.inject([Fault::Slow(Duration::from_secs(3600))]);
    let started = Instant::now();
    guard.lost().await;
    assert!(
        started.elapsed() <= Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_an_error_for_all_who_wait_when_there_is_no_other() {
    let server = Server::new();
    let pool = server.pool("a", config());
    server.inject([Fault::Refuse]);
    let tasks: Vec<_> = (0..5)
        .map(|key| acquire_later(&pool, key, Mode::Exclusive, None))
        .collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                Error::Database {
                    phase: Phase::Connect,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    assert_eq!(pool.status().keys, 0);
    drop(exclusive(&pool, 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_refused_further_connection_leaves_the_others_at_work() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    drop(exclusive(&here, 0).await);
    let theirs = exclusive(&there, 1).await;
    server.inject([Fault::Refuse]);
    let waiter = exclusive_later(&here, 1);
    sleep(500 * MS).await;
    assert_eq!(
        (
            here.status().sessions,
            here.status().counters.sessions_refused
        ),
        (1, 1)
    );
    drop(exclusive(&here, 2).await);
    drop(theirs);
    drop(waiter.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_wants_any_more_is_given_back() {
    let server = Server::with_latency(20 * MS);
    let pool = server.pool("a", config());
    drop(exclusive(&pool, 0).await);
    sleep(100 * MS).await;
    let error = acquire(&pool, 1, Mode::Exclusive, Some(5 * MS))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }));
    sleep(100 * MS).await;
    assert_eq!(
        server.grants().len(),
        2,
        "the server has granted it all the same"
    );
    assert_eq!((server.held(), pool.status().keys), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_session_that_dies_is_replaced() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let theirs = exclusive(&there, 1).await;
    let waiter = exclusive_later(&here, 1);
    sleep(100 * MS).await;
    assert_eq!(here.status().waiting_sessions, 1);
    server.inject([Fault::DieBefore]);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(here.status().counters.sessions_lost, 1);
    drop(theirs);
    drop(waiter.await.unwrap());
}

#[test]
fn when_a_runtime_ends_guards_hear_of_it_and_waiters_go_on_with_their_own() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap()
    };
    let (first, second) = (build(), build());
    let guard = first.block_on(exclusive(&pool, 1));
    let waiter = second.spawn({
        let pool = pool.clone();
        async move { exclusive(&pool, 1).await }
    });
    while pool.status().waiters == 0 {
        std::thread::yield_now();
    }
    drop(first);
    assert!(!guard.is_held());
    let next = second.block_on(waiter).unwrap();
    assert!(next.is_held());
    drop(guard);
    assert!(second.block_on(next.release(&name())).is_ok());
    assert_eq!(server.held(), 0);
}

#[test]
fn outside_of_a_runtime_the_error_says_so() {
    let pool = Server::new().pool("a", config());
    let key = crate::Key::from(1);
    let mut acquire = std::pin::pin!(pool.acquire(&key, Mode::Exclusive, None, false));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match acquire.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(error @ Error::NoRuntime)) => {
            assert!(error.to_string().contains("tokio"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_server_refuses_fails() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _theirs = exclusive(&there, 1).await;
    let waiter = acquire_later(&here, 1, Mode::Exclusive, None);
    server.until(|_| here.status().waiting_sessions == 1).await;
    server.inject([Fault::Fail]);
    let error = waiter.await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Database {
                phase: Phase::Acquire,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(here.status().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_refused_is_asked_again_though_nothing_else_happens() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _leader = exclusive(&there, 1).await;
    let _candidate = exclusive_later(&here, 1);
    // The session that waits is the only one left when the other has been idle for a minute.
    sleep(Duration::from_secs(70)).await;
    assert_eq!(
        (here.status().sessions, here.status().waiting_sessions),
        (1, 1)
    );
    server.inject([Fault::Refuse]);
    let started = Instant::now();
    drop(exclusive(&here, 2).await);
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_die_at_once_are_not_replaced_without_end() {
    let server = Server::new();
    let config = Config {
        max_locks_per_session: 1,
        ..config()
    };
    let pool = server.pool("a", config);
    let _held = exclusive(&pool, 1).await;
    server.inject([Fault::DieBefore; 1000]);
    let error = acquire(&pool, 2, Mode::Exclusive, Some(Duration::from_secs(5))).await;
    assert!(error.is_err());
    let lost = pool.status().counters.sessions_lost;
    assert!((1..20).contains(&lost), "{lost} sessions lost");
}

#[test]
fn on_a_runtime_that_has_ended_the_error_says_so() {
    let pool = Server::new().pool("a", config());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let result = handle.block_on(acquire(&pool, 1, Mode::Exclusive, None));
        done.send(result.unwrap_err()).unwrap();
    });
    let error = finished.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(matches!(error, Error::NoRuntime), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_sent_and_never_seen_is_given_back() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let key = crate::Key::from(1);
    let mut acquire = Box::pin(pool.acquire(&key, Mode::Exclusive, None, false));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(acquire.as_mut().poll(&mut context).is_pending());
    server.until(|server| server.held() == 1).await;
    sleep(10 * MS).await;
    drop(acquire);
    server.until(|server| server.held() == 0).await;
    drop(exclusive(&pool, 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_seen_though_somebody_asks_and_goes_away_again_and_again() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    let fickle = tokio::spawn(async move {
        loop {
            drop(timeout(Duration::ZERO, exclusive(&pool, 2)).await);
            sleep(3 * MS).await;
        }
    });
    sleep(20 * MS).await;
    let start = Instant::now();
    server.kill_holder(1);
    guard.lost().await;
    fickle.abort();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}
