//! Order and fairness.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::fake::Server;
use super::{
    MS, acquire, acquire_later, config, exclusive, exclusive_later, name, shared, shared_later,
    try_exclusive,
};
use crate::key::Key;
use crate::mode::Mode;
use crate::pool::DLockExt as _;
use crate::pool::config::Config;

#[tokio::test(start_paused = true)]
async fn local_waiters_are_served_in_order() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let first = exclusive(&pool, 1).await;
    let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..5 {
        let (pool, order) = (pool.clone(), order.clone());
        tokio::spawn(async move {
            let _guard = exclusive(&pool, 1).await;
            order.send(number).unwrap();
        });
        tokio::task::yield_now().await;
    }
    drop((first, order));
    let mut numbers = Vec::new();
    while let Some(number) = served.recv().await {
        numbers.push(number);
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

/// The grant to the first reader refuses the writer that stood before the second reader.
#[tokio::test(start_paused = true)]
async fn a_reader_behind_a_writer_that_is_refused_joins_the_first_reader() {
    let server = Server::with_latency(10 * MS);
    let pool = server.pool("a", config());
    drop(exclusive(&pool, 2).await);
    let [first, writer] = [Mode::Shared, Mode::Exclusive].map(|mode| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.acquire(&Key::from(1_i64), mode, None, true).await })
    });
    tokio::task::yield_now().await;
    let second = shared_later(&pool, 1);
    let first = first.await.unwrap().unwrap().expect("it is free");
    assert!(writer.await.unwrap().unwrap().is_none());
    let second = timeout(1000 * MS, second).await.expect("it can join");
    drop((first, second.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_lock_goes_from_hand_to_hand_without_the_server() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let first = exclusive(&pool, 1).await;
    let second = exclusive_later(&pool, 1);
    tokio::task::yield_now().await;
    let before = server.statements();
    assert!(first.release(&name()).await.is_ok());
    let second = second.await.unwrap();
    assert_eq!(server.statements(), before);
    assert!(second.release(&name()).await.is_ok());
    assert_eq!(server.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_handoffs_every_lock_comes_from_the_server() {
    let server = Server::new();
    let config = Config {
        max_local_handoffs: 0,
        ..config()
    };
    let pool = server.pool("a", config);
    let tasks = (0..10).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { drop(exclusive(&pool, 1).await) })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(server.grants().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn after_a_while_the_server_gets_the_lock_back() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let tasks = (0..10).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let _guard = exclusive(&pool, 1).await;
            sleep(9 * MS).await;
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    // Three at a time.
    assert_eq!(server.grants().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_second_process_gets_its_share_under_constant_local_contention() {
    let server = Server::new();
    let counts = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    for (client, tasks, count) in [("a", 64, &counts[0]), ("b", 1, &counts[1])] {
        let pool = server.pool(client, config());
        for _ in 0..tasks {
            let (pool, count) = (pool.clone(), Arc::clone(count));
            tokio::spawn(async move {
                loop {
                    let guard = exclusive(&pool, 1).await;
                    sleep(MS).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    drop(guard);
                }
            });
        }
    }
    sleep(Duration::from_secs(30)).await;
    let grants = server.grants();
    let share = grants.iter().filter(|client| **client == "b").count();
    assert!(grants.len() > 500, "{} grants", grants.len());
    assert!(
        share * 100 >= grants.len() * 40,
        "{share} of {} grants; cycles {counts:?}",
        grants.len()
    );
}

#[tokio::test(start_paused = true)]
async fn one_try_says_no_at_once() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let guard = exclusive(&here, 1).await;
    let started = Instant::now();
    assert!(try_exclusive(&here, 1).await.is_none());
    assert!(try_exclusive(&there, 1).await.is_none());
    assert!(started.elapsed() < 10 * MS);
    drop(guard);
    // Given back and taken in one round trip: a local try after a local release cannot fail.
    assert!(try_exclusive(&here, 1).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn tries_that_were_made_before_the_server_was_asked_share_its_answer() {
    let server = Server::with_latency(50 * MS);
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _held = exclusive(&here, 1).await;
    assert!(try_exclusive(&there, 1).await.is_none());
    let before = server.statements();
    let tries = || {
        let there = there.clone();
        let tries = (0..10).map(move |_| {
            let there = there.clone();
            tokio::spawn(async move { try_exclusive(&there, 1).await })
        });
        tries.collect::<Vec<_>>()
    };
    let early = tries();
    sleep(20 * MS).await;
    // The lock may become free before these: they need an answer of their own.
    let late = tries();
    for one_try in early.into_iter().chain(late) {
        assert!(one_try.await.unwrap().is_none());
    }
    assert_eq!(server.statements() - before, 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_became_a_try_is_not_in_its_own_way() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let mut lock = pool.dlock(1_i64);
    assert!(timeout(Duration::ZERO, &mut lock).await.is_err());
    assert!(lock.try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "polled after its end")]
async fn a_request_that_is_polled_after_its_end_says_so() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let mut lock = pool.dlock(1_i64);
    drop((&mut lock).await.unwrap());
    drop(lock.await);
}

#[tokio::test(start_paused = true)]
async fn one_try_behind_a_waiter_says_no() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let guard = exclusive(&there, 1).await;
    let waiter = exclusive_later(&here, 1);
    sleep(50 * MS).await;
    assert!(try_exclusive(&here, 1).await.is_none());
    drop(guard);
    drop(waiter.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_exact_and_leaves_nothing() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let guard = exclusive(&there, 1).await;
    let started = Instant::now();
    let error = acquire(&here, 1, Mode::Exclusive, Some(700 * MS)).await;
    assert!(matches!(error, Err(crate::Error::Timeout { .. })));
    let waited = started.elapsed();
    assert!(waited >= 700 * MS && waited < 702 * MS, "{waited:?}");
    drop(guard);
    server.until(|server| server.held() == 0).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!((server.held(), here.status().keys), (0, 0));
}

/// Whoever waits on the server when the lock is released gets it, and would have left a moment later.
#[tokio::test(start_paused = true)]
async fn nobody_waits_on_the_server_when_its_caller_gives_up() {
    let server = Server::new();
    let (ours, theirs) = (server.pool("a", config()), server.pool("b", config()));
    let held = exclusive(&theirs, 1).await;
    let waiter = acquire_later(&ours, 1, Mode::Exclusive, Some(700 * MS));
    sleep(650 * MS).await;
    assert_eq!(server.waiting(), 1);
    sleep(48 * MS).await;
    assert_eq!((server.waiting(), waiter.is_finished()), (0, false));
    assert!(waiter.await.unwrap().is_err());
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn readers_share_and_a_writer_waits_for_them_all() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let readers = [shared(&pool, 1).await, shared(&pool, 1).await];
    assert_eq!(server.held(), 1, "the second reader joins the first");
    let writer = exclusive_later(&pool, 1);
    sleep(10 * MS).await;
    let [first, second] = readers;
    drop(first);
    sleep(10 * MS).await;
    assert!(!writer.is_finished());
    drop(second);
    drop(writer.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_reader_does_not_overtake_a_waiting_writer() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let reader = shared(&pool, 1).await;
    let writer = exclusive_later(&pool, 1);
    sleep(10 * MS).await;
    assert!(timeout(50 * MS, shared(&pool, 1)).await.is_err());
    drop(reader);
    drop(writer.await.unwrap());
    drop(shared(&pool, 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_asks_the_server_on_another_session() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let early = shared(&pool, 1).await;
    sleep(200 * MS).await;
    let late = shared(&pool, 1).await;
    assert_eq!(server.held(), 2);
    assert_ne!(early.session(), late.session());
    drop((early, late));
    server.until(|server| server.held() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_waits_for_a_writer_of_another_process() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let early = shared(&here, 1).await;
    let writer = tokio::spawn(async move { exclusive(&there, 1).await });
    sleep(200 * MS).await;
    let late = shared_later(&here, 1);
    sleep(200 * MS).await;
    assert!(!late.is_finished());
    drop(early);
    let writer = writer.await.unwrap();
    assert!(!late.is_finished());
    drop(writer);
    drop(late.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn with_one_session_a_late_reader_joins_after_a_sign_of_life() {
    let server = Server::new();
    let config = Config {
        max_sessions: 1,
        ..config()
    };
    let pool = server.pool("a", config);
    let early = shared(&pool, 1).await;
    sleep(200 * MS).await;
    let before = server.statements();
    let late = shared(&pool, 1).await;
    assert_eq!((server.statements(), server.held()), (before + 1, 1));
    drop((early, late));
    server.until(|server| server.held() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_the_lock_though_the_early_one_leaves_before_the_sign_of_life() {
    let server = Server::new();
    let config = Config {
        max_sessions: 1,
        ..config()
    };
    let pool = server.pool("a", config);
    let early = shared(&pool, 1).await;
    sleep(200 * MS).await;
    let late = acquire_later(&pool, 1, Mode::Shared, Some(Duration::from_secs(60)));
    tokio::task::yield_now().await;
    drop(early);
    drop(late.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_served_as_soon_as_the_writer_in_front_has_given_up() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _theirs = shared(&there, 1).await;
    let writer = acquire_later(&here, 1, Mode::Exclusive, Some(50 * MS));
    tokio::task::yield_now().await;
    let started = Instant::now();
    let reader = acquire(&here, 1, Mode::Shared, Some(400 * MS)).await;
    drop(reader.unwrap());
    assert!(started.elapsed() < 100 * MS, "{:?}", started.elapsed());
    assert!(writer.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn one_try_of_a_reader_does_not_fail_with_that_of_a_writer() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _theirs = shared(&there, 1).await;
    let key = crate::Key::from(1);
    let writer = here.acquire(&key, Mode::Exclusive, None, true);
    let reader = here.acquire(&key, Mode::Shared, None, true);
    let (writer, reader) = tokio::join!(writer, reader);
    assert!(writer.unwrap().is_none());
    assert!(reader.unwrap().is_some());
    assert_eq!(here.status().counters.contended, 1);
}

/// Where no session holds locks a pinned lock stands in the queue, too; its caller and its place there end apart from each other.
#[tokio::test(start_paused = true)]
async fn a_waiter_for_a_pinned_lock_is_counted_once_and_not_at_all_when_it_has_left() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let held = exclusive(&pool, 1).await;
    let key = Key::from(1);
    {
        let mut waiting = pin!(pool.acquire_pinned(&key, Mode::Exclusive, None, false));
        assert!(timeout(5 * MS, &mut waiting).await.is_err());
        assert_eq!(pool.status().waiters, 1);
    }
    assert_eq!(pool.status().waiters, 0);
    // It goes to the place whose caller has left, before the task there hears of either.
    drop(held);
    assert_eq!(pool.status().waiters, 0);
    sleep(MS).await;
    assert_eq!((pool.status().waiters, pool.status().held), (0, 0));
}

/// A session has a lock once only, so one of another mode beside a reader takes a second session.
#[tokio::test(start_paused = true)]
async fn on_one_session_another_mode_waits_for_readers() {
    let server = Server::new();
    let one = Config {
        max_sessions: 1,
        ..config()
    };
    let pool = server.pool("a", one);
    let reader = shared(&pool, 1).await;
    let one_try = (pool.acquire(&Key::from(1_i64), Mode::SubShared, None, true)).await;
    assert!(one_try.unwrap().is_none());
    let before = server.statements();
    let waiting = acquire_later(&pool, 1, Mode::SubShared, None);
    sleep(5 * Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    assert!(server.statements() < before + 100, "it asks in vain");
    drop(reader);
    drop(waiting.await.unwrap().unwrap());
}

/// A lock that is in the way of another mode on the only session is gone: the other is asked for at
/// once, not at the end of a back-off.
#[tokio::test(start_paused = true)]
async fn who_waits_for_another_session_is_served_at_the_release() {
    let server = Server::with_latency(Duration::ZERO);
    let one = Config {
        max_sessions: 1,
        ..config()
    };
    let pool = server.pool("a", one);
    for _ in 0..20 {
        let reader = shared(&pool, 1).await;
        let waiting = acquire_later(&pool, 1, Mode::SubShared, None);
        sleep(3 * Duration::from_secs(1)).await;
        let start = Instant::now();
        drop(reader);
        drop(waiting.await.unwrap().unwrap());
        assert!(start.elapsed() < 5 * MS, "{:?}", start.elapsed());
    }
}
