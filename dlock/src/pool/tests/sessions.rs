//! How many sessions there are, and how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::fake::{Fault, Server};
use super::{MS, acquire_later, config, exclusive, exclusive_later, name, shared};
use crate::error::Error;
use crate::mode::Mode;
use crate::pool::config::Config;

#[tokio::test(start_paused = true)]
async fn none_before_first_use_and_one_is_enough() {
    let server = Server::new();
    let pool = server.pool("a", config());
    assert_eq!(server.sessions(), 0);
    let guards = [
        exclusive(&pool, 1).await,
        exclusive(&pool, 2).await,
        shared(&pool, 3).await,
    ];
    assert_eq!((server.sessions(), server.held()), (1, 3));
    drop(guards);
}

/// The server is known a moment before its first session is: some have asked for a lock by then, others still for the server.
#[tokio::test(start_paused = true)]
async fn a_lock_and_an_introduction_share_the_first_session() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let engine = &pool.owner().unwrap().core.engine;
    let (met, guard) = tokio::join!(engine.meet(), exclusive(&pool, 1));
    met.unwrap();
    assert_eq!(pool.status().sessions, 1);
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_pending_travel_together() {
    let server = Server::new();
    let pool = server.pool("a", config());
    drop(exclusive(&pool, 0).await);
    sleep(MS).await;
    let before = server.statements();
    let tasks: Vec<_> = (1..=100).map(|key| exclusive_later(&pool, key)).collect();
    let mut guards = Vec::new();
    for task in tasks {
        guards.push(task.await.unwrap());
    }
    assert!(
        server.statements() - before <= 3,
        "{} statements",
        server.statements() - before
    );
}

#[tokio::test(start_paused = true)]
async fn many_locks_are_taken_where_sessions_answer_at_once() {
    let server = Server::local();
    let pool = server.pool("a", config());
    let tasks: Vec<_> = (0..500).map(|key| exclusive_later(&pool, key)).collect();
    let mut guards = Vec::new();
    for task in tasks {
        guards.push(task.await.unwrap());
    }
    assert_eq!(server.held(), 500);
}

/// Each waiter's try is refused by the server, and the next one tries.
#[tokio::test(start_paused = true)]
async fn a_thread_that_releases_does_not_do_all_work_of_others() {
    let server = Server::local();
    let pool = server.pool("a", config());
    let held = exclusive(&pool, 1).await;
    sleep(Duration::from_secs(1)).await;
    let waiters: Vec<_> = (0..100)
        .map(|_| acquire_later(&pool, 1, Mode::Exclusive, None))
        .collect();
    sleep(MS).await;
    server.inject([Fault::Fail; 100]);
    let before = server.statements();
    drop(held);
    let done = server.statements() - before;
    assert!((1..=32).contains(&done), "{done} tries");
    for waiter in waiters {
        let refused = waiter.await.unwrap();
        assert!(
            matches!(refused, Err(Error::Database { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(server.held(), 0);
}

/// Pings in five seconds of work on a session that holds a lock all the time.
async fn pings_of_a_busy_session(server: &Arc<Server>) -> u64 {
    let pool = server.pool("a", config());
    let held = exclusive(&pool, 1).await;
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        assert!(exclusive(&pool, 2).await.release(&name()).await.is_ok());
    }
    drop(held);
    server.pings()
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_end_is_not_seen_is_asked_often_while_it_holds_however_busy_it_is() {
    let pings = pings_of_a_busy_session(&Server::asked()).await;
    assert!((9..=11).contains(&pings), "{pings}");
    assert_eq!(pings_of_a_busy_session(&Server::new()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_holds_nothing_is_asked_when_it_has_been_silent_for_long() {
    let server = Server::asked();
    let pool = server.pool("a", config());
    drop(exclusive(&pool, 1).await);
    sleep(Duration::from_secs(50)).await;
    assert!((5..=8).contains(&server.pings()), "{}", server.pings());
}

#[tokio::test(start_paused = true)]
async fn a_full_session_is_spared() {
    let server = Server::new();
    let config = Config {
        max_locks_per_session: 10,
        max_sessions: 4,
        ..config()
    };
    let pool = server.pool("a", config);
    let mut guards = Vec::new();
    for key in 0..60 {
        guards.push(exclusive(&pool, key).await);
    }
    assert_eq!((server.sessions(), server.held()), (4, 60));
}

#[tokio::test(start_paused = true)]
async fn keys_beyond_the_sessions_are_tried_again() {
    let server = Server::new();
    let config = Config {
        max_sessions: 2,
        ..config()
    };
    let (here, there) = (server.pool("a", config), server.pool("b", super::config()));
    let mut theirs = Vec::new();
    for key in 0..10 {
        theirs.push(exclusive(&there, key).await);
    }
    let waiters: Vec<_> = (0..10).map(|key| exclusive_later(&here, key)).collect();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (here.status().sessions, here.status().waiting_sessions),
        (2, 1)
    );
    let released = Instant::now();
    drop(theirs);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert!(released.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_closed_and_a_holding_one_is_kept_alive() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    let before = server.statements();
    sleep(Duration::from_secs(90)).await;
    assert_eq!(server.sessions(), 1);
    assert!(server.statements() - before >= 10, "keepalive");
    drop(guard);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(server.sessions(), 0);
    drop(exclusive(&pool, 1).await);
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_guards_and_refuses_everybody_else() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    let queued = acquire_later(&pool, 1, crate::Mode::Exclusive, None);
    sleep(MS).await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    assert!(matches!(queued.await.unwrap(), Err(Error::PoolClosed)));
    let refused = super::acquire(&pool, 2, crate::Mode::Exclusive, None).await;
    assert!(matches!(refused, Err(Error::PoolClosed)));
    sleep(10 * MS).await;
    assert!(!closing.is_finished() && guard.is_held());
    drop(guard);
    closing.await.unwrap();
    assert_eq!(server.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn close_timeout_tells_the_guards_before_anything_is_unlocked() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close_timeout(50 * MS).await }
    });
    guard.lost().await;
    assert!(!guard.is_held());
    assert_eq!(
        server.held(),
        1,
        "the server still has it when the guard hears"
    );
    assert!(guard.release(&name()).await.is_err());
    closing.await.unwrap();
    assert_eq!(server.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn close_ends_a_wait_on_the_server() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _theirs = exclusive(&there, 1).await;
    let waiter = acquire_later(&here, 1, crate::Mode::Exclusive, None);
    sleep(Duration::from_secs(5)).await;
    let started = Instant::now();
    here.close().await;
    assert!(started.elapsed() < 10 * MS);
    assert!(matches!(waiter.await.unwrap(), Err(Error::PoolClosed)));
}

/// Guards have a second to notice their loss, and these have noticed at once.
#[tokio::test(start_paused = true)]
async fn close_timeout_waits_no_longer_than_for_the_last_guard() {
    for server in [Server::new(), Server::local()] {
        let pool = server.pool("a", config());
        let guard = exclusive(&pool, 1).await;
        let started = Instant::now();
        let closed = pool.close_timeout(100 * MS);
        let gone = async {
            guard.lost().await;
            drop(guard);
        };
        tokio::join!(closed, gone);
        assert!(started.elapsed() < 200 * MS, "{:?}", started.elapsed());
        assert_eq!((server.held(), server.sessions()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_pool_after_the_last_guard() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    drop(pool);
    sleep(10 * MS).await;
    assert!(guard.is_held() && server.sessions() == 1);
    drop(guard);
    server.until(|server| server.sessions() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_just_granted_a_lock_is_not_put_to_wait() {
    let server = Server::new();
    let config = Config {
        max_locks_per_session: 1,
        max_sessions: 3,
        ..config()
    };
    let (here, there) = (server.pool("a", config), server.pool("b", super::config()));
    let _fills_the_first = exclusive(&here, 0).await;
    let theirs = exclusive(&there, 1).await;
    // Both go to the next session, in one batch: the first is busy, the second is granted.
    let tasks = [1, 2].map(|key| exclusive_later(&here, key));
    sleep(Duration::from_secs(3)).await;
    drop(theirs);
    for task in tasks {
        assert!(task.await.unwrap().is_held());
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_waiters_that_give_up_at_once_leave_nothing() {
    let server = Server::with_latency(50 * MS);
    let pool = server.pool("a", config());
    let tasks: Vec<_> = (0..10_000)
        .map(|key| acquire_later(&pool, key, crate::Mode::Exclusive, Some(MS)))
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Err(Error::Timeout { .. })));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!((server.held(), pool.status().keys), (0, 0));
}
