//! Panics where locks are handed out.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::time::{sleep, timeout};

use super::fake::{Fault, Server};
use super::{MS, acquire, acquire_later, config, exclusive, shared, shared_later};
use crate::error::Error;
use crate::mode::Mode;

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of a test");
    }
}

/// Both are granted by one answer of the server.
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_takes_nothing_from_others() {
    for server in [Server::new(), Server::local()] {
        let pool = server.pool("a", config());
        let held = exclusive(&pool, 1).await;
        let other = exclusive(&pool, 2).await;
        {
            let mut first = pin!(shared(&pool, 1));
            let waker = Waker::from(Arc::new(Panics));
            let polled = first.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(matches!(polled, Poll::Pending));
            let second = shared_later(&pool, 1);
            sleep(MS).await;
            drop(held);
            let second = timeout(1000 * MS, second).await.expect("it is free");
            assert!(second.unwrap().is_held());
        }
        assert!(other.is_held());
        assert_eq!(pool.status().counters.sessions_lost, 0);
        drop(other);
        drop(exclusive(&pool, 1).await);
        server.until(|server| server.held() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_pool_reports_every_guard_lost_and_refuses_everything() {
    for server in [Server::new(), Server::local()] {
        let pool = server.pool("a", config());
        let (held, other) = (exclusive(&pool, 1).await, shared(&pool, 2).await);
        let waiter = acquire_later(&pool, 1, Mode::Exclusive, None);
        sleep(MS).await;
        pool.owner().unwrap().core.engine.panic_inside();
        for guard in [held, other] {
            assert!(!guard.is_held());
            timeout(MS, guard.lost()).await.expect("it is lost");
        }
        let waited = timeout(1000 * MS, waiter).await.expect("an answer");
        assert!(matches!(waited.unwrap(), Err(Error::PoolClosed)));
        let next = acquire(&pool, 3, Mode::Exclusive, None).await;
        assert!(matches!(next, Err(Error::PoolClosed)), "{next:?}");
        timeout(5000 * MS, pool.close())
            .await
            .expect("it is closed");
        assert_eq!((server.held(), server.sessions()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_that_panics_is_an_error_of_its_request() {
    let server = Server::local();
    let pool = server.pool("a", config());
    let other = exclusive(&pool, 2).await;
    server.inject([Fault::Panic]);
    let refused = acquire(&pool, 1, Mode::Exclusive, None).await;
    assert!(
        matches!(refused, Err(Error::Database { .. })),
        "{refused:?}"
    );
    assert!(other.is_held());
    drop(exclusive(&pool, 1).await);
    drop(other);
    timeout(5000 * MS, pool.close())
        .await
        .expect("it is closed");
    assert_eq!((server.held(), server.sessions()), (0, 0));
}
