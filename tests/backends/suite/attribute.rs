//! `#[with_dlock]`: what `run` promises, of a function. What it can be put on is in `tests/attribute`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dlock::{DLockExt, Error, with_dlock};
use dlock_tests::Db;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tokio::sync::Notify;

use super::loss::Flag;
use super::{Backend, Failure, OrmBackend, Outcome, PATIENCE, Scene, is_unsupported, needed, soon};

#[with_dlock(key = key, timeout = PATIENCE)]
async fn fails_or_finds_it_taken<D: Db>(
    db: &D,
    theirs: &D,
    key: i64,
    fails: bool,
) -> Result<bool, DbErr> {
    if fails {
        Err(DbErr::Custom("this failure is part of the test".into()))?;
    }
    let tried = theirs.dlock(key).try_acquire().await?;
    Ok(tried.is_none())
}

pub(crate) async fn a_function_has_its_lock_released_before_it_returns<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    for fails in [false, true] {
        let returned = fails_or_finds_it_taken(&ours, &theirs, key, fails).await;
        match fails {
            false => assert!(returned?, "it holds the lock"),
            true => assert!(returned.is_err_and(|error| error.to_string().contains("part of"))),
        }
        let got = theirs.dlock(key).try_acquire().await?;
        got.expect("the lock is free").release().await?;
    }
    Ok(())
}

#[with_dlock(db = on, key = key, timeout = "100ms")]
async fn never_runs<D: Db>(on: &D, key: i64) -> Result<(), Error> {
    panic!("without its lock on {on:?}")
}

#[with_dlock(key = key, nowait, busy = Ok(false))]
async fn runs_if_it_can(db: &impl Db, key: i64) -> Result<bool, Error> {
    Ok(db.lock_pool().status().held == 1)
}

pub(crate) async fn a_function_whose_lock_is_not_had_in_time_does_not_run<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let key = scene.key();
    let held = theirs.dlock(key).await?;
    let ran = never_runs(&ours, key).await;
    let waited = match ran {
        Err(Error::Timeout { waited, .. }) => waited,
        other => return Err(Failure::new(format!("{other:?}"))),
    };
    assert!(waited >= Duration::from_millis(90), "{waited:?}");
    assert!(!runs_if_it_can(&ours, key).await?);
    held.release().await?;
    assert!(runs_if_it_can(&ours, key).await?);
    Ok(())
}

#[with_dlock(key = key)]
async fn runs_until_dropped<D: Db>(
    db: &D,
    key: i64,
    begun: &Notify,
    dropped: Flag,
) -> Result<(), Error> {
    let _ = (db, dropped);
    begun.notify_one();
    std::future::pending().await
}

pub(crate) async fn a_function_whose_lock_is_lost_is_dropped<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let (key, begun, dropped) = (scene.key(), Notify::new(), Arc::new(AtomicBool::new(false)));
    let running = runs_until_dropped(&db, key, &begun, Flag(Arc::clone(&dropped)));
    let killing = async {
        begun.notified().await;
        scene.kill_sessions("ours").await
    };
    let (returned, killed) = soon("the end", async { tokio::join!(running, killing) }).await?;
    killed?;
    assert!(matches!(&returned, Err(Error::Lost { .. })), "{returned:?}");
    assert!(dropped.load(Ordering::SeqCst));
    Ok(())
}

pub(crate) async fn a_function_that_is_dropped_frees_its_lock<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let (key, begun, dropped) = (scene.key(), Notify::new(), Arc::new(AtomicBool::new(false)));
    tokio::select! {
        returned = runs_until_dropped(&ours, key, &begun, Flag(Arc::clone(&dropped))) => returned?,
        () = begun.notified() => {}
    }
    assert!(dropped.load(Ordering::SeqCst));
    let guard = theirs.dlock(key).timeout(PATIENCE).await?;
    Ok(guard.release().await?)
}

#[with_dlock(key = key, pinned, timeout = PATIENCE)]
async fn number_of_session(
    db: &DatabaseConnection,
    key: i64,
    number: &'static str,
) -> Result<i64, DbErr> {
    session_number(db, number).await
}

async fn session_number(db: &DatabaseConnection, number: &str) -> Result<i64, DbErr> {
    let question = sea_orm::Statement::from_string(db.get_database_backend(), number);
    let row = db.query_one_raw(question).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("no row".into()))?;
    row.try_get_by_index(0)
}

pub(crate) async fn a_pinned_function_works_on_the_session_of_its_lock<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (db, number) = (scene.db_of("ours", 1).await, needed(B::SESSION));
    let key = scene.key();
    let pinned = number_of_session(&db, key, number).await?;
    assert_ne!(pinned, session_number(&db, number).await?);
    let guard = db.dlock(key).timeout(PATIENCE).await?;
    Ok(guard.release().await?)
}

#[with_dlock(key = key, db = txn, xact, timeout = PATIENCE)]
async fn in_a_transaction(
    txn: &DatabaseTransaction,
    theirs: &DatabaseConnection,
    key: i64,
) -> Result<bool, Error> {
    let _ = txn;
    Ok(theirs.dlock(key).try_acquire().await?.is_none())
}

pub(crate) async fn a_function_in_a_transaction_holds_its_lock_beyond_its_return<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let (key, txn) = (scene.key(), ours.begin().await?);
    let returned = in_a_transaction(&txn, &theirs, key).await;
    if !B::XACT {
        txn.rollback().await?;
        return is_unsupported(&returned);
    }
    assert!(returned?, "the transaction holds the lock");
    assert!(theirs.dlock(key).try_acquire().await?.is_none());
    txn.commit().await?;
    let got = theirs.dlock(key).try_acquire().await?;
    Ok(got.expect("the lock is free").release().await?)
}
