//! An answer that does not come from the session that holds the locks: the whole pool is refused.

use std::time::Duration;

use tokio::time::sleep;

use super::fake::{Fault, PROBE, Server};
use super::{MS, acquire, acquire_later, config, exclusive, name};
use crate::error::Error;
use crate::mode::Mode;
use crate::pool::config::Config;

/// As long as the engine has it.
const QUARANTINE: Duration = Duration::from_secs(10);

fn one_lock_each() -> Config {
    Config {
        max_locks_per_session: 1,
        ..config()
    }
}

#[tokio::test(start_paused = true)]
async fn all_guards_of_all_sessions_are_lost_and_waiters_get_the_reason() {
    let server = Server::new();
    let pool = server.pool("a", one_lock_each());
    let elsewhere = server.pool("b", config());
    let theirs = exclusive(&elsewhere, 9).await;
    let guards = [exclusive(&pool, 1).await, exclusive(&pool, 2).await];
    let waiter = acquire_later(&pool, 9, Mode::Exclusive, None);
    server.until(|_| pool.status().waiting_sessions == 1).await;

    server.inject([Fault::WrongSession]);
    let asked = acquire(&pool, 3, Mode::Exclusive, None).await;
    assert!(matches!(asked, Err(Error::Refused { .. })), "{asked:?}");
    for guard in guards {
        guard.lost().await;
        assert!(guard.release(&name()).await.is_err());
    }
    let waited = waiter.await.unwrap();
    assert!(matches!(waited, Err(Error::Refused { .. })), "{waited:?}");
    // The waiting session ends with its slice.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(server.held(), 1);
    assert_eq!((pool.status().sessions, pool.status().keys), (0, 0));
    assert!(theirs.release(&name()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_refusal_lasts_for_a_while_and_then_all_begins_anew() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let guard = exclusive(&pool, 1).await;
    server.inject([Fault::WrongSession]);
    assert!(guard.release(&name()).await.is_err());
    sleep(QUARANTINE - 10 * MS).await;
    let early = acquire(&pool, 1, Mode::Exclusive, None).await;
    assert!(matches!(early, Err(Error::Refused { .. })), "{early:?}");
    let listed = pool.locks().await;
    assert!(matches!(listed, Err(Error::Refused { .. })), "{listed:?}");
    sleep(20 * MS).await;
    assert!(exclusive(&pool, 1).await.release(&name()).await.is_ok());
}

/// A new session that is refused may have met another server than the others are on.
#[tokio::test(start_paused = true)]
async fn sessions_prove_themselves_when_a_further_one_is_refused() {
    let server = Server::new();
    let pool = server.pool("a", one_lock_each());
    let guard = exclusive(&pool, 1).await;
    server.inject([Fault::WrongServer, Fault::WrongSession]);
    let further = acquire_later(&pool, 2, Mode::Exclusive, None);
    guard.lost().await;
    let further = further.await.unwrap();
    assert!(matches!(further, Err(Error::Refused { .. })), "{further:?}");
    assert_eq!(pool.status().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_grants_one_lock_to_two_sessions_is_refused_with_the_second() {
    let server = Server::probed(true);
    let pool = server.pool("a", one_lock_each());
    let guard = exclusive(&pool, 1).await;
    let further = acquire(&pool, 2, Mode::Exclusive, None).await;
    let Err(Error::Refused { found, .. }) = further else {
        panic!("{further:?}");
    };
    assert!(found.contains("two sessions"), "{found}");
    guard.lost().await;
    drop(guard);
    server.until(|server| server.held() == 0).await;
    // For good, however long ago it was.
    sleep(2 * QUARANTINE).await;
    let later = acquire(&pool, 1, Mode::Exclusive, None).await;
    assert!(matches!(later, Err(Error::Refused { .. })), "{later:?}");
}

/// Both kinds of work go on when there is always more of either.
#[tokio::test(start_paused = true)]
async fn questions_and_requests_take_turns() {
    let server = Server::new();
    let pool = server.pool("a", config());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pool = pool.clone();
        asking.spawn(async move {
            loop {
                pool.locks().await.unwrap();
            }
        });
    }
    sleep(10 * MS).await;
    for key in 0..20 {
        assert!(exclusive(&pool, key).await.release(&name()).await.is_ok());
    }
    asking.abort_all();
}

#[tokio::test(start_paused = true)]
async fn two_sessions_try_once_whether_their_locks_exclude() {
    let server = Server::probed(false);
    let pool = server.pool("a", one_lock_each());
    let guards = [exclusive(&pool, 1).await, exclusive(&pool, 2).await];
    assert_eq!(server.held(), 2);
    let third = exclusive(&pool, 3).await;
    let probes = server.grants_of(&PROBE);
    assert_eq!((probes, server.held()), (1, 3));
    for guard in guards.into_iter().chain([third]) {
        assert!(guard.release(&name()).await.is_ok());
    }
}
