//! What refuses a lock refuses a pinned one, in the same words; and a server that has no room.

use std::error::Error as _;
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::{connect, env};
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::changed::Changed;
use super::limits::with_small_server;
use super::options::name;
use super::raw::Raw;
use super::refusals::{READ_ONLY, WRITABLE};
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, elapsed, in_one_of, soon};

async fn same_words(db: &sea_orm::DatabaseConnection) -> Outcome {
    let plain = db.dlock(name()).await.expect_err("it is refused");
    let pinned = db.dlock(name()).pinned().await.expect_err("it is refused");
    assert!(matches!(pinned, Error::Refused { .. }), "{pinned:?}");
    assert_eq!(pinned.to_string(), plain.to_string());
    let tried = db.dlock(name()).pinned().try_acquire().await;
    assert_eq!(
        tried.expect_err("it is refused").to_string(),
        plain.to_string()
    );
    assert_eq!(LockPool::of(db).status().pinned_sessions, 0);
    Ok(())
}

pub(crate) async fn a_galera_node_is_refused_for_pinned_locks<S: Server>(_: &Scene<S>) -> Outcome {
    same_words(&connect(&env("DLOCK_TEST_GALERA_URL"), 1).await).await
}

/// And a pinned lock there is lost when the server becomes it, in a transaction or not.
pub(crate) async fn a_read_only_server_is_refused_for_pinned_locks<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    let server = Changed::take::<S>([WRITABLE]).await?;
    let url = server.url().await?;
    let test = async move {
        let mut admin = Raw::at(&url).await?;
        let db = connect(&url, 1).await;
        in_one_of(3, Duration::from_millis(1300), async || {
            let guard = db.dlock(name()).pinned().await?;
            admin.run(READ_ONLY).await?;
            let (lost, took) = elapsed(soon("the loss", guard.lost())).await;
            lost?;
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
            same_words(&db).await?;
            admin.run(WRITABLE).await?;
            db.dlock(name()).pinned().await?.release().await?;
            Ok(took)
        })
        .await
    };
    server.run(test).await
}

pub(crate) async fn a_full_server_refuses_a_pinned_lock_clearly_and_later_gives_it<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    with_small_server::<S, _>(refuses).await
}

async fn refuses(mut admin: Raw, url: String) -> Outcome {
    admin.run("SET GLOBAL max_connections = 12").await?;
    let db = connect(&url, 1).await;
    // Shorter than the work under it.
    LockPool::builder(&db)
        .keepalive(Duration::from_secs(1))
        .install();
    let held = db.dlock(name()).pinned().await?;
    let mut others = Vec::new();
    while let Ok(other) = Raw::at(&url).await {
        others.push(other);
    }
    let wanted = name();
    let (full, took) = elapsed(soon("an error", db.dlock(&wanted).pinned().into_future())).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    let error = full?.expect_err("there is no room");
    let is_connect = matches!(
        error,
        Error::Database {
            phase: Phase::Connect,
            ..
        }
    );
    assert!(is_connect, "{error:?}");
    let cause = error.source().expect("a cause").to_string();
    assert!(
        cause.contains("1040") || cause.contains("Too many connections"),
        "{cause}"
    );
    assert!(admin.can_lock(&wanted).await?);
    // The one that is there is as good as before, at work as well.
    let txn = held.begin().await?;
    tokio::select! {
        () = held.lost() => panic!("lost, since nobody else could be asked"),
        done = txn.execute_unprepared("DO SLEEP(2)") => { done?; }
    }
    txn.commit().await?;
    drop(others);
    let later = async {
        loop {
            if let Ok(guard) = db.dlock(&wanted).pinned().timeout(PATIENCE).await {
                return guard.release().await;
            }
        }
    };
    soon("the lock", later).await??;
    Ok(held.release().await?)
}
