//! Pinned locks on MySQL and MariaDB: whose settings their sessions have, how they are named, and when a transaction is over.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use sea_orm::{ConnectionTrait, Statement, TransactionTrait};
use tokio::time::sleep;

use super::first_lock::{is_name, names};
use super::options::{options, with_hook};
use super::{Scene, Server};
use crate::suite::{Failure, Outcome, PATIENCE, soon};

async fn ask(db: &impl ConnectionTrait, question: &str) -> Outcome<String> {
    let question = format!("SELECT CAST({question} AS CHAR)");
    let question = Statement::from_string(db.get_database_backend(), question);
    let row = db.query_one_raw(question).await?;
    let row = row.ok_or_else(|| Failure::new("no row"))?;
    Ok(row.try_get_by_index(0)?)
}

pub(crate) async fn hooks_and_limits_of_the_application_are_in_force_on_a_pinned_session<
    S: Server,
>(
    scene: &Scene<S>,
) -> Outcome {
    let (limit, tenth) = S::STATEMENT_LIMIT;
    let hook = format!("SET @hooked = 'yes', SESSION {limit} = {tenth}, SESSION autocommit = 0");
    let db = with_hook(hook).connect_lazy_with(options(&scene.url("ours"))?);
    let (mut raw, wanted) = (scene.raw().await?, scene.key());
    raw.lock(wanted).await?;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).pinned().timeout(PATIENCE).await }
    });
    // Longer than the limit.
    sleep(Duration::from_millis(700)).await;
    assert!(!waiter.is_finished());
    raw.unlock(wanted).await?;
    let guard = soon("the lock", waiter).await???;
    assert_eq!(ask(&guard, "@hooked").await?, "yes");
    assert_eq!(ask(&guard, "@@autocommit + 0").await?, "0");
    let in_force: f64 = ask(&guard, &format!("@@{limit}")).await?.parse()?;
    let set: f64 = tenth.parse()?;
    assert!((in_force - set).abs() < 1e-9, "{in_force}");
    sleep(Duration::from_millis(700)).await;
    assert!(guard.is_held());
    let holder = raw.holder(wanted).await?.map(|holder| holder.to_string());
    assert_eq!(holder, Some(ask(&guard, "CONNECTION_ID()").await?));
    guard.release().await?;
    // What was set ends with the guard.
    let db = scene.db("plain").await;
    let guard = db.dlock(wanted).pinned().await?;
    guard.execute_unprepared("SET @mine = 1").await?;
    guard.release().await?;
    let guard = db.dlock(wanted).pinned().await?;
    assert_eq!(ask(&guard, "COALESCE(@mine, 'none')").await?, "none");
    Ok(guard.release().await?)
}

pub(crate) async fn a_pinned_session_is_given_back_whatever_completion_type_says<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    for kind in ["RELEASE", "CHAIN"] {
        let hook = format!("SET SESSION completion_type = '{kind}'");
        let db = with_hook(hook).connect_lazy_with(options(&scene.url("ours"))?);
        let key = scene.key();
        let guard = db.dlock(key).pinned().await?;
        guard.execute_unprepared("START TRANSACTION").await?;
        guard.release().await?;
        db.dlock(key).pinned().await?.release().await?;
        assert!(scene.raw().await?.holder(key).await?.is_none(), "{kind}");
    }
    Ok(())
}

/// It has to ask which server it is before it knows the name.
pub(crate) async fn a_first_lock_may_be_pinned<S: Server>(scene: &Scene<S>) -> Outcome {
    let mut raw = scene.raw().await?;
    for text in names() {
        let db = scene.db_of("ours", 1).await;
        let guard = db.dlock(&text).pinned().await?;
        assert!(is_name::<S>(guard.physical_key(), &text), "{guard:?}");
        assert!(!raw.can_lock(guard.physical_key()).await?);
        let another = LockPool::builder(&db).build();
        assert!(another.dlock(&text).pinned().try_acquire().await?.is_none());
        let late = another
            .dlock(&text)
            .pinned()
            .timeout(Duration::from_millis(100));
        assert!(matches!(late.await, Err(Error::Timeout { .. })));
        assert!(db.dlock(&text).try_acquire().await?.is_none());
        let physical = guard.physical_key().clone();
        guard.release().await?;
        assert!(raw.can_lock(physical).await?);
    }
    let pool = LockPool::builder(&scene.db("ours").await).build();
    let pair = pool.dlock((1, 2)).pinned().await;
    assert!(matches!(pair, Err(Error::Unsupported { .. })), "{pair:?}");
    assert_eq!(pool.status().counters.sessions_opened, 0);
    Ok(())
}

pub(crate) async fn credentials_that_have_changed_are_used_for_the_next_pinned_lock<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db("before").await;
    let first = db.dlock(scene.key()).pinned().await?;
    let today = options(&scene.url("after"))?;
    db.get_mysql_connection_pool().set_connect_options(today);
    let second = db.dlock(scene.key()).pinned().await?;
    for (guard, of) in [(&first, "before"), (&second, "after")] {
        let user = format!("{}@", scene.application(of));
        assert!(ask(guard, "USER()").await?.starts_with(&user), "{of}");
        scene.until_sessions(of, 1).await?;
    }
    first.release().await?;
    Ok(second.release().await?)
}

/// A statement that an operator ends is no loss, whoever sent it.
pub(crate) async fn an_operator_who_ends_statements_does_not_end_a_pinned_lock<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db("ours").await;
    let guard = db.dlock(scene.key()).pinned().await?;
    let session = ask(&guard, "CONNECTION_ID()").await?;
    let mut raw = scene.raw().await?;
    let kills = async {
        for _ in 0..300 {
            assert!(raw.kill("QUERY", &session).await);
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = guard.lost() => panic!("lost"),
        () = kills => {}
    }
    let txn = guard.begin().await?;
    txn.rollback().await?;
    Ok(guard.release().await?)
}
