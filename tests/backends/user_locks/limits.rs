//! What happens when the server has no more connections, or no more prepared statements, to give.

use std::error::Error as _;
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::connect;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::changed::Changed;
use super::options::name;
use super::raw::Raw;
use super::{Scene, Server, UserLocks};
use crate::suite::{Backend, Outcome, PATIENCE, elapsed, eventually};

const CONNECTIONS: &str = "SET GLOBAL max_connections = 500";
const STATEMENTS: &str = "SET GLOBAL max_prepared_stmt_count = 16382";

/// A test with an administrator, and the address for an account that has no place reserved for it.
pub(super) async fn with_small_server<S: Server, T: Future<Output = Outcome> + 'static>(
    test: impl FnOnce(Raw, String) -> T,
) -> Outcome {
    let account = name();
    let back = [CONNECTIONS, STATEMENTS].map(ToOwned::to_owned);
    let back = back.into_iter().chain([format!("DROP USER {account}")]);
    let small = Changed::take::<S>(back).await?;
    let url = small.url().await?;
    let mut admin = Raw::at(&url).await?;
    admin.run(&format!("CREATE USER {account}")).await?;
    let grant = format!("GRANT SELECT ON dlock.* TO {account}");
    admin.run(&grant).await?;
    let test = test(admin, UserLocks::<S>::named(&url, &account));
    small.run(test).await
}

pub(crate) async fn when_the_server_is_full_the_sessions_there_are_carry_on<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    with_small_server::<S, _>(carries_on).await
}

async fn carries_on(mut admin: Raw, url: String) -> Outcome {
    admin.run("SET GLOBAL max_connections = 12").await?;
    let db = connect(&url, 1).await;
    let builder = || LockPool::builder(&db).max_sessions(4);
    let pool = builder().max_locks_per_session(1).build();
    let held = pool.dlock(name()).await?;
    let mut others = Vec::new();
    let full = loop {
        match Raw::at(&url).await {
            Ok(other) => others.push(other),
            Err(failure) => break format!("{failure:?}"),
        }
    };
    assert!(full.contains("1040"), "{full}");

    // A further key, one that another session holds, and a second one while the first waits.
    let further = pool.dlock(name()).timeout(PATIENCE).await?;
    let contended = [name(), name()];
    let mut waiting = JoinSet::new();
    for key in &contended {
        admin.lock(key).await?;
        let (pool, key) = (pool.clone(), key.clone());
        waiting.spawn(async move { pool.dlock(key).timeout(PATIENCE).await });
    }
    let short = Duration::from_millis(500);
    assert!(timeout(short, waiting.join_next()).await.is_err());
    for key in &contended {
        admin.unlock(key).await?;
    }
    let waited: Result<Vec<_>, _> = waiting.join_all().await.into_iter().collect();
    let waited = waited?;
    assert_eq!(pool.status().sessions, 1);
    assert!(held.is_held());

    // An application without any session hears why.
    let late = builder().build();
    let (refused, took) = elapsed(late.dlock(name()).into_future()).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    let Err(
        error @ Error::Database {
            phase: Phase::Connect,
            ..
        },
    ) = refused
    else {
        panic!("{refused:?}");
    };
    let source = error.source().map(ToString::to_string);
    assert!(source.is_some_and(|source| source.contains("Too many connections")));

    // With room again it gets one, and the first pool its second.
    drop(others);
    admin
        .until("(SELECT COUNT(*) FROM information_schema.PROCESSLIST) < 8")
        .await?;
    late.dlock(name())
        .timeout(PATIENCE)
        .await?
        .release()
        .await?;
    let mut more = Vec::new();
    eventually("a second session", async || {
        more.push(pool.dlock(name()).timeout(PATIENCE).await?);
        Ok(pool.status().sessions > 1)
    })
    .await?;
    for guard in waited.into_iter().chain(more).chain([further, held]) {
        guard.release().await?;
    }
    late.close().await;
    pool.close().await;
    Ok(db.close().await?)
}

pub(crate) async fn a_server_without_room_for_statements_costs_no_lock<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    with_small_server::<S, _>(costs_nothing).await
}

async fn costs_nothing(mut admin: Raw, url: String) -> Outcome {
    let db = connect(&url, 1).await;
    let pool = LockPool::builder(&db).max_sessions(1).build();
    // Both shapes of one lock are prepared by now.
    pool.dlock(name()).await?.release().await?;
    let held = pool.dlock(name()).await?;
    admin.run("SET GLOBAL max_prepared_stmt_count = 0").await?;
    let mut wide = JoinSet::new();
    for _ in 0..8 {
        let pool = pool.clone();
        wide.spawn(async move { pool.dlock(name()).timeout(PATIENCE).await });
    }
    for guard in wide.join_all().await {
        let guard = guard?;
        assert!(!admin.gets(guard.physical_key()).await?, "{guard:?}");
        guard.release().await?;
    }
    assert!(held.is_held());
    assert!(admin.holder(held.physical_key()).await?.is_some());
    assert_eq!(pool.status().counters.sessions_lost, 0);
    admin.run(STATEMENTS).await?;
    held.release().await?;
    pool.dlock(name())
        .timeout(PATIENCE)
        .await?
        .release()
        .await?;
    pool.close().await;
    Ok(db.close().await?)
}
