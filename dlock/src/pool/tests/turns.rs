//! More contended keys than sessions to wait on.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::fake::{Fault, Server};
use super::{
    MS, acquire, acquire_later, config, exclusive, exclusive_later, name, shared, try_exclusive,
};
use crate::backend::{Answer, Batch, Request};
use crate::error::Error;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::pool::LockPool;
use crate::pool::config::Config;

const SECOND: Duration = Duration::from_secs(1);

/// Held elsewhere for ever.
const IN_VAIN: i64 = 100;

/// One session to wait on.
fn two_sessions() -> Config {
    Config {
        max_sessions: 2,
        ..config()
    }
}

/// A process with one session to wait on; somebody in it waits for [`IN_VAIN`] already.
async fn with_a_wait_in_vain(server: &Arc<Server>, there: &LockPool) -> LockPool {
    let held = exclusive(there, IN_VAIN).await;
    let here = server.pool("a", two_sessions());
    let waiting = exclusive_later(&here, IN_VAIN);
    tokio::spawn(async move { drop((waiting.await, held)) });
    sleep(SECOND).await;
    assert_eq!(here.status().waiting_sessions, 1);
    here
}

/// One task of that process has it after the other.
fn keep_busy(pool: &LockPool, key: i64, hold: Duration) {
    let pool = pool.clone();
    tokio::spawn(async move {
        loop {
            let _guard = exclusive(&pool, key).await;
            sleep(hold).await;
        }
    });
}

fn cycle(pool: &LockPool, key: i64) -> JoinHandle<Result<(), Error>> {
    let pool = pool.clone();
    tokio::spawn(async move {
        drop(acquire(&pool, key, Mode::Exclusive, Some(60 * SECOND)).await?);
        Ok(())
    })
}

/// The other process gives each back and takes it again in one statement, so that no try finds it
/// free.
#[tokio::test(start_paused = true)]
async fn every_key_has_its_turn() {
    for server in [Server::new(), Server::local()] {
        let there = server.pool("b", config());
        for task in 0..16 {
            keep_busy(&there, task % 8, MS);
        }
        let here = with_a_wait_in_vain(&server, &there).await;
        let cycles: Vec<_> = (0..8).map(|key| cycle(&here, key)).collect();
        for cycle in cycles {
            cycle.await.unwrap().unwrap();
        }
    }
}

/// It takes a second to be first in line, and nobody leaves it.
#[tokio::test(start_paused = true)]
async fn turns_become_long_enough_for_a_long_line() {
    let server = Server::new();
    let there = server.pool("b", config());
    let request = Request {
        key: PhysicalKey::Int(1),
        mode: Mode::Exclusive,
    };
    for _ in 0..20 {
        let (mut session, request) = (server.session("c").await, request.clone());
        tokio::spawn(async move {
            loop {
                while !matches!(session.wait(&request, 60 * SECOND).await, Ok(Answer::Yes)) {}
                sleep(50 * MS).await;
                let release = Batch::of_releases(vec![request.clone()]);
                session.exchange(&release).await.unwrap();
            }
        });
    }
    let here = with_a_wait_in_vain(&server, &there).await;
    cycle(&here, 1).await.unwrap().unwrap();
}

/// Who gives up and comes again does not begin anew.
#[tokio::test(start_paused = true)]
async fn a_turn_ends_though_its_callers_come_and_go() {
    let server = Server::local();
    let there = server.pool("b", config());
    for _ in 0..2 {
        keep_busy(&there, 1, MS);
    }
    let _held = exclusive(&there, 2).await;
    let here = server.pool("a", two_sessions());
    tokio::spawn({
        let here = here.clone();
        async move {
            loop {
                drop(timeout(400 * MS, exclusive(&here, 2)).await);
            }
        }
    });
    sleep(5 * SECOND).await;
    cycle(&here, 1).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_free_key_is_had_though_the_only_session_waits_and_the_server_refuses_another() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _leader = exclusive(&there, 1).await;
    let _candidate = exclusive_later(&here, 1);
    // The one that is left for tries has been idle for a minute.
    sleep(70 * SECOND).await;
    assert_eq!(here.status().sessions, 1);
    server.inject([Fault::Refuse; 100]);
    let started = Instant::now();
    drop(exclusive(&here, 2).await);
    assert!(started.elapsed() < 5 * SECOND, "{:?}", started.elapsed());
}

/// One session holds, so it is the one for tries.
#[tokio::test(start_paused = true)]
async fn a_free_session_waits_whichever_it_is() {
    let server = Server::new();
    let there = server.pool("b", config());
    let here = with_a_wait_in_vain(&server, &there).await;
    sleep(70 * SECOND).await;
    assert_eq!(here.status().sessions, 1);
    let _held = exclusive(&here, 2).await;
    let _theirs = exclusive(&there, 3).await;
    let _contended = acquire_later(&here, 3, Mode::Exclusive, None);
    for _ in 0..10 {
        sleep(SECOND).await;
        assert_eq!(here.status().waiting_sessions, 1);
    }
}

/// What was waited for is held where it was waited for, and the rest of the work goes there, too.
#[tokio::test(start_paused = true)]
async fn other_work_leaves_a_session_free_to_wait() {
    let server = Server::new();
    let there = server.pool("b", config());
    for _ in 0..2 {
        keep_busy(&there, 1, MS);
    }
    let held = exclusive(&there, 2).await;
    let here = server.pool("a", two_sessions());
    let waiting = exclusive_later(&here, 2);
    sleep(SECOND).await;
    drop(held);
    let _ours = waiting.await.unwrap();
    for key in 10..13 {
        keep_busy(&here, key, MS);
    }
    cycle(&here, 1).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_session_is_opened_for_who_gives_up_too_soon_to_wait() {
    let server = Server::new();
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let _held = exclusive(&there, 1).await;
    for timeout in [SECOND].into_iter().chain([8 * MS; 20]) {
        let error = acquire(&here, 1, Mode::Exclusive, Some(timeout)).await;
        assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
        assert_eq!(here.status().sessions, 2);
    }
}

/// The wait that was given up is granted the lock a moment before its end. Otherwise the try would
/// return `None` although only this process holds the lock.
#[tokio::test(start_paused = true)]
async fn a_try_hears_of_the_grant_that_comes_to_a_wait_of_its_own_process() {
    let server = Server::with_delay(50 * MS);
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = exclusive(&there, 1).await;
    let late = acquire_later(&here, 1, Mode::Exclusive, Some(100 * MS));
    sleep(80 * MS).await;
    assert!(held.release(&name()).await.is_ok());
    let late = late.await.unwrap();
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let got = try_exclusive(&here, 1).await.expect("it is free");
    assert!(got.release(&name()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_try_behind_a_wait_that_was_in_vain_is_no_wait_itself() {
    let server = Server::with_delay(50 * MS);
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = exclusive(&there, 1).await;
    let late = acquire(&here, 1, Mode::Exclusive, Some(100 * MS)).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let started = Instant::now();
    assert!(try_exclusive(&here, 1).await.is_none());
    assert!(started.elapsed() <= 50 * MS, "{:?}", started.elapsed());
    drop(held);
}

/// What refuses a writer need not refuse a reader.
#[tokio::test(start_paused = true)]
async fn a_try_of_a_reader_behind_the_wait_of_a_writer_asks_for_itself() {
    let server = Server::with_delay(50 * MS);
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = acquire(&there, 1, Mode::Shared, None).await.unwrap();
    let late = acquire(&here, 1, Mode::Exclusive, Some(100 * MS)).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let reader = here.acquire(&1.into(), Mode::Shared, None, true).await;
    let reader = reader.unwrap().expect("readers share");
    assert!(reader.is_held());
    drop(held);
}

/// The writer's wait goes on, and an answer of the server to it says nothing about readers.
#[tokio::test(start_paused = true)]
async fn a_try_of_a_reader_behind_a_wait_that_goes_on_is_no_wait_itself() {
    let server = Server::with_delay(50 * MS);
    let (here, there) = (server.pool("a", config()), server.pool("b", config()));
    let held = exclusive(&there, 1).await;
    let _waiting = exclusive_later(&here, 1);
    server.until(|server| server.waiting() == 1).await;
    // The first slice is over, and its answer on its way.
    sleep(520 * MS).await;
    let started = Instant::now();
    let key = 1.into();
    let tried = here.acquire(&key, Mode::Shared, None, true);
    let tried = timeout(SECOND, tried).await.expect("an answer");
    assert!(tried.unwrap().is_none());
    assert!(started.elapsed() <= 50 * MS, "{:?}", started.elapsed());
    drop(held);
}

/// The only session holds the key and owes a sign of life when others begin to keep it busy.
#[tokio::test(start_paused = true)]
async fn any_reply_is_a_sign_of_life() {
    let server = Server::with_latency(10 * MS);
    let config = Config {
        max_sessions: 1,
        ..config()
    };
    let pool = server.pool("a", config);
    let _first = shared(&pool, 1).await;
    sleep(SECOND).await;
    for key in 2..10 {
        let pool = pool.clone();
        tokio::spawn(async move {
            loop {
                drop(exclusive(&pool, key).await);
            }
        });
    }
    tokio::task::yield_now().await;
    let reader = timeout(SECOND, shared(&pool, 1)).await;
    drop(reader.expect("it joins the first reader"));
}

/// Both of its sessions hold the key, so the reader waits for a sign of life of one. That one is
/// given back meanwhile and could wait for another key, for as long as its holder likes.
#[tokio::test(start_paused = true)]
async fn a_session_shows_that_it_lives_before_it_waits() {
    let server = Server::new();
    let there = server.pool("b", config());
    let here = server.pool("a", two_sessions());
    let first = shared(&here, 1).await;
    sleep(SECOND).await;
    let _second = shared(&here, 1).await;
    let _theirs = exclusive(&there, IN_VAIN).await;
    let _contended = exclusive_later(&here, IN_VAIN);
    // A reply is older than what counts as a sign of life.
    let mut last = (server.statements(), Instant::now());
    while last.1.elapsed() <= 110 * MS {
        sleep(MS).await;
        if server.statements() > last.0 {
            last = (server.statements(), Instant::now());
        }
    }
    let mut reader = pin!(shared(&here, 1));
    let mut context = Context::from_waker(Waker::noop());
    assert!(reader.as_mut().poll(&mut context).is_pending());
    drop(first);
    let reader = timeout(100 * MS, reader).await.expect("it is shared");
    drop(reader);
}

/// The others have the lock for 450 ms, so the first turn here is over after one holder of 9 ms;
/// the next ones are of 20 ms, for three holders each.
#[tokio::test(start_paused = true)]
async fn after_a_long_wait_the_server_gets_the_lock_back_sooner() {
    let server = Server::new();
    let (there, here) = (server.pool("b", config()), server.pool("a", config()));
    let theirs = exclusive(&there, 1).await;
    let tasks = (0..9).map(|_| {
        let pool = here.clone();
        tokio::spawn(async move {
            let _guard = exclusive(&pool, 1).await;
            sleep(9 * MS).await;
        })
    });
    let tasks = tasks.collect::<Vec<_>>();
    sleep(450 * MS).await;
    drop(theirs);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(server.grants(), ["b", "a", "a", "a", "a"]);
}
