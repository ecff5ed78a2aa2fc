//! Update locks: who may have them beside whom, and how they become exclusive.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::fake::{Fault, Server};
use super::{MS, acquire, config, exclusive, exclusive_later, name, shared, shared_later};
use crate::error::Error;
use crate::key::Key;
use crate::mode::Mode;
use crate::pool::config::Config;
use crate::pool::{Grant, LockPool};

const SECOND: Duration = Duration::from_secs(1);

async fn update(pool: &LockPool, key: i64) -> Grant {
    acquire(pool, key, Mode::Update, None).await.unwrap()
}

async fn upgrade(grant: &Grant, key: i64, limit: Option<Duration>) -> Result<Mode, Error> {
    grant.upgrade(&Key::from(key), Mode::Update, limit).await
}

fn upgrade_later(grant: Grant, key: i64) -> JoinHandle<Result<Grant, Error>> {
    tokio::spawn(async move { upgrade(&grant, key, None).await.map(|_| grant) })
}

async fn soon<T>(task: JoinHandle<T>) -> T {
    let ended = timeout(60 * SECOND, task).await;
    ended.expect("it comes within a minute").unwrap()
}

#[tokio::test(start_paused = true)]
async fn update_locks_are_held_beside_readers_one_at_a_time() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let reader = shared(&here, 1).await;
    for pool in [&here, &there] {
        let held = update(pool, 1).await;
        for other in [&here, &there] {
            let second = acquire(other, 1, Mode::Update, Some(SECOND)).await;
            assert!(matches!(second, Err(Error::Timeout { .. })), "{second:?}");
            drop(shared(other, 1).await);
        }
        drop(held);
    }
    drop(reader);
    server.until(|server| server.held() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_lock_that_is_alone_becomes_exclusive_at_once() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let held = update(&pool, 1).await;
    assert_eq!(upgrade(&held, 1, None).await.unwrap(), Mode::Exclusive);
    let reader = acquire(&pool, 1, Mode::Shared, Some(SECOND)).await;
    assert!(matches!(reader, Err(Error::Timeout { .. })), "{reader:?}");
    // Once more changes nothing.
    upgrade(&held, 1, None).await.unwrap();
    assert!(held.release(&name()).await.is_ok());
    drop(shared(&pool, 1).await);
}

/// Of this process and of another one; on a session of its own, where the server waits, and on one that holds more.
#[tokio::test(start_paused = true)]
async fn an_upgrade_waits_for_readers_and_keeps_new_ones_out() {
    for holds_more in [false, true] {
        let server = Server::new();
        let (here, there) = (server.pool("a", config()), server.pool("b", config()));
        let other = match holds_more {
            true => Some(exclusive(&here, 2).await),
            false => None,
        };
        let held = update(&here, 1).await;
        let readers = [shared(&here, 1).await, shared(&there, 1).await];
        let upgrading = upgrade_later(held, 1);
        sleep(3 * SECOND).await;
        assert!(!upgrading.is_finished());
        let late = shared_later(&here, 1);
        sleep(500 * MS).await;
        assert!(!late.is_finished(), "it would keep the upgrade waiting");
        drop(readers);
        let held = soon(upgrading).await.unwrap();
        sleep(SECOND).await;
        assert!(!late.is_finished());
        assert!(held.release(&name()).await.is_ok());
        soon(late).await;
        drop(other);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_not_had_in_time_leaves_the_lock_as_it_was() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let held = update(&pool, 1).await;
    let reader = shared(&pool, 1).await;
    for limit in [Duration::ZERO, 700 * MS, 5 * SECOND] {
        let start = Instant::now();
        let upgraded = upgrade(&held, 1, Some(limit)).await;
        assert!(
            matches!(upgraded, Err(Error::Timeout { .. })),
            "{upgraded:?}"
        );
        let took = start.elapsed();
        assert!(limit <= took && took < limit + SECOND, "{took:?}");
        drop(soon(shared_later(&pool, 1)).await);
    }
    drop(reader);
    assert!(held.release(&name()).await.is_ok());
}

/// The server may have granted it when nobody waits for it any more.
#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_dropped_at_any_moment_leaks_nothing() {
    for step in 0..40 {
        let server = Server::with_latency(10 * MS);
        let (here, there) = (server.pool("a", config()), server.pool("b", config()));
        let held = update(&here, 1).await;
        let reader = shared(&there, 1).await;
        let leaving = tokio::spawn(async move {
            sleep(60 * MS).await;
            drop(reader);
        });
        let given_up = timeout(step * 3 * MS, upgrade(&held, 1, None)).await;
        soon(leaving).await;
        match step % 2 {
            0 => assert!(
                held.release(&name()).await.is_ok(),
                "step {step}, {given_up:?}"
            ),
            _ => drop(held),
        }
        soon(exclusive_later(&there, 1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_whose_session_dies_is_a_loss() {
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        let server = Server::new();
        let pool = server.pool("a", config());
        let held = update(&pool, 1).await;
        server.inject([fault]);
        let upgraded = upgrade(&held, 1, None).await;
        assert!(matches!(upgraded, Err(Error::Lost { .. })), "{upgraded:?}");
        assert!(!held.is_held());
    }
}

/// It waits for a reader of another process, and another session of its pool is refused.
#[tokio::test(start_paused = true)]
async fn an_upgrade_ends_when_the_pool_is_refused() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = update(&here, 1).await;
    let reader = shared(&there, 1).await;
    let upgrading = upgrade_later(held, 1);
    sleep(100 * MS).await;
    server.inject([Fault::WrongSession]);
    assert!(acquire(&here, 2, Mode::Exclusive, None).await.is_err());
    let upgraded = timeout(SECOND, upgrading).await.expect("it ends");
    let upgraded = upgraded.unwrap();
    assert!(matches!(upgraded, Err(Error::Lost { .. })), "{upgraded:?}");
    drop(reader);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_the_server_refuses_leaves_the_lock_as_it_was() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let held = update(&pool, 1).await;
    server.inject([Fault::Fail]);
    let upgraded = upgrade(&held, 1, None).await;
    assert!(
        matches!(upgraded, Err(Error::Database { .. })),
        "{upgraded:?}"
    );
    drop(soon(shared_later(&pool, 1)).await);
    assert!(held.release(&name()).await.is_ok());
}

/// An upgrade waits on a session of its own.
#[tokio::test(start_paused = true)]
async fn nobody_waits_behind_an_upgrade() {
    let server: Arc<Server> = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = update(&here, 1).await;
    let reader = shared(&there, 1).await;
    let upgrading = upgrade_later(held, 1);
    sleep(100 * MS).await;
    for key in 10..20 {
        let start = Instant::now();
        drop(exclusive(&here, key).await);
        assert!(start.elapsed() < 200 * MS, "{:?}", start.elapsed());
    }
    drop(reader);
    soon(upgrading).await.unwrap();
}

/// What comes in without end does not keep an upgrade from being asked for.
#[tokio::test(start_paused = true)]
async fn an_upgrade_has_its_turn_on_a_busy_session() {
    let server = Server::with_latency(10 * MS);
    let one = Config {
        max_sessions: 1,
        ..config()
    };
    let pool = server.pool("a", one);
    let held = update(&pool, 1).await;
    for key in 10..74 {
        let pool = pool.clone();
        tokio::spawn(async move {
            loop {
                drop(exclusive(&pool, key).await);
            }
        });
    }
    sleep(SECOND).await;
    upgrade(&held, 1, Some(10 * SECOND)).await.unwrap();
    upgrade(&held, 1, Some(Duration::ZERO)).await.unwrap();
}

/// However few sessions the other locks have.
#[tokio::test(start_paused = true)]
async fn upgrades_leave_a_session_to_the_others() {
    for sessions in [1, 2, 4] {
        let server = Server::new();
        let few = Config {
            max_sessions: sessions,
            ..config()
        };
        let (here, there) = (server.pool("a", few), server.pool("b", config()));
        let mut readers = Vec::new();
        for key in 1..=4 {
            let held = update(&here, key).await;
            readers.push(shared(&there, key).await);
            drop(upgrade_later(held, key));
            sleep(50 * MS).await;
        }
        for key in 10..20 {
            let start = Instant::now();
            drop(exclusive(&here, key).await);
            assert!(
                start.elapsed() < 300 * MS,
                "{sessions}: {:?}",
                start.elapsed()
            );
        }
    }
}

/// The future of one that was given up is not dropped but forgotten.
#[tokio::test(start_paused = true)]
async fn a_forgotten_upgrade_is_asked_for_no_longer_than_its_lock_is_held() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let other = exclusive(&here, 2).await;
    let held = update(&here, 1).await;
    let reader = shared(&there, 1).await;
    let key = Key::from(1_i64);
    let mut upgrading = Box::pin(held.upgrade(&key, Mode::Update, None));
    assert!(timeout(100 * MS, &mut upgrading).await.is_err());
    std::mem::forget(upgrading);
    assert!(held.release(&name()).await.is_ok());
    let before = server.statements();
    sleep(10 * SECOND).await;
    assert!(
        server.statements() < before + 20,
        "{}",
        server.statements() - before
    );
    drop((reader, other));
}

/// It is forgotten in the last 10 ms of its time, when the server is not waited for any more.
#[tokio::test(start_paused = true)]
async fn a_forgotten_upgrade_whose_time_is_over_keeps_no_lock() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = update(&here, 1).await;
    let _reader = shared(&there, 1).await;
    let key = Key::from(1_i64);
    let mut upgrading = Box::pin(held.upgrade(&key, Mode::Update, Some(700 * MS)));
    assert!(timeout(695 * MS, &mut upgrading).await.is_err());
    std::mem::forget(upgrading);
    let released = timeout(SECOND, held.release(&name())).await;
    assert!(released.expect("an answer").is_ok());
}

/// The session is in the middle of a request, so nothing is sent on it.
#[tokio::test(start_paused = true)]
async fn close_timeout_ends_an_upgrade_with_its_session() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = update(&here, 1).await;
    let reader = shared(&there, 1).await;
    let upgrading = upgrade_later(held, 1);
    sleep(100 * MS).await;
    let before = server.statements();
    here.close_timeout(100 * MS).await;
    let upgraded = soon(upgrading).await;
    assert!(matches!(upgraded, Err(Error::Lost { .. })), "{upgraded:?}");
    assert_eq!(server.statements(), before);
    drop(reader);
    server.until(|server| server.held() == 0).await;
}

#[test]
fn outside_of_a_runtime_an_upgrade_says_so() {
    let server = Server::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = server.pool("a", config());
    let held = runtime.block_on(update(&pool, 1));
    let key = Key::from(1_i64);
    let mut upgrading = std::pin::pin!(held.upgrade(&key, Mode::Update, None));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let upgraded = upgrading.as_mut().poll(&mut context);
    assert!(matches!(
        upgraded,
        std::task::Poll::Ready(Err(Error::NoRuntime))
    ));
}
