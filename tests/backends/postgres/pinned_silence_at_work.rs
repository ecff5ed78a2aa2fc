//! A network that goes silent while the holder of a pinned lock is at work. Its statement hangs
//! until its own limits; the release does not.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase, PinnedGuard};
use dlock_tests::connect;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::server::{PATIENCE, Server, holders, key};
use super::silence::{Flow, Proxy};

/// What the holder of a lock may be doing.
#[derive(Debug, Clone, Copy)]
enum Work {
    Transaction,
    Statement,
}

/// A release waits 500 ms for the holder and 5 s for the end of its session. A busy machine adds
/// the rest.
const LONGEST_RELEASE: Duration = Duration::from_secs(7);

const GRACE: Duration = Duration::from_millis(500);

/// Work that goes on until it is dropped.
struct AtWork {
    _txn: Option<DatabaseTransaction>,
    _statement: JoinSet<()>,
}

impl Work {
    const ALL: [Self; 2] = [Self::Transaction, Self::Statement];

    async fn begin(self, guard: &PinnedGuard, server: &mut Server, key: i64) -> AtWork {
        let (mut txn, mut statement) = (None, JoinSet::new());
        match self {
            Self::Transaction => txn = Some(guard.begin().await.expect("a transaction")),
            Self::Statement => {
                let connection = (**guard).clone();
                statement.spawn(async move {
                    drop(connection.execute_unprepared("SELECT pg_sleep(60)").await);
                });
                let runs = format!(
                    "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                     AND pid IN (SELECT pid FROM {}))",
                    holders(key)
                );
                server.until(&runs).await;
            }
        }
        AtWork {
            _txn: txn,
            _statement: statement,
        }
    }
}

/// New connections are silent, too: the session cannot be ended, and the error has the phase
/// release.
#[tokio::test]
async fn a_pinned_release_at_work_into_silence_is_an_error_of_the_release() {
    for work in Work::ALL {
        let (mut server, key) = (Server::main().await, key());
        let proxy = Proxy::start().await;
        let db = connect(&proxy.url, 1).await;
        // The limits of a release are its own.
        let keepalive = Duration::from_secs(60);
        let pool = LockPool::builder(&db).keepalive(keepalive).install();
        let guard = db.dlock(key).pinned().await.unwrap();
        let at_work = work.begin(&guard, &mut server, key).await;
        proxy.fresh(Flow::Silent);
        proxy.silence();
        let start = Instant::now();
        let released = timeout(PATIENCE, guard.release()).await.unwrap();
        let took = start.elapsed();
        assert!(took >= GRACE && took < LONGEST_RELEASE, "{work:?} {took:?}");
        assert!(
            matches!(
                released,
                Err(Error::Database {
                    phase: Phase::Release,
                    ..
                })
            ),
            "{work:?} {released:?}"
        );
        // The server knows nothing of the silence.
        assert_eq!(server.holders(key).await, 1);
        drop(at_work);
        let limit = Duration::from_millis(100);
        timeout(PATIENCE, pool.close_timeout(limit)).await.unwrap();
        let ended = format!("SELECT pg_terminate_backend(pid) FROM {}", holders(key));
        server.run(&ended).await;
        server.until_free(key).await;
    }
}

/// Only this connection is silent, as behind a NAT that has forgotten it: a new one ends the
/// session.
#[tokio::test]
async fn a_pinned_release_at_work_on_a_silent_connection_frees_the_lock() {
    for work in Work::ALL {
        let (mut server, key) = (Server::main().await, key());
        let proxy = Proxy::start().await;
        let db = connect(&proxy.url, 1).await;
        let guard = db.dlock(key).pinned().await.unwrap();
        let at_work = work.begin(&guard, &mut server, key).await;
        proxy.silence();
        let start = Instant::now();
        timeout(PATIENCE, guard.release()).await.unwrap().unwrap();
        let took = start.elapsed();
        assert!(took >= GRACE && took < LONGEST_RELEASE, "{work:?} {took:?}");
        assert_eq!(server.holders(key).await, 0, "{work:?}");
        let again = timeout(PATIENCE, db.dlock(key).pinned()).await;
        again.unwrap().unwrap().release().await.unwrap();
        drop(at_work);
    }
}
