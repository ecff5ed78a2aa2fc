//! However a body ends, its lock is released, and what it owned is dropped before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dlock::prelude::*;
use dlock::{Error, with_dlock};
use sea_orm::DatabaseConnection;
use tokio::sync::Notify;

use super::{database, is_locked};

#[with_dlock(key = "forever")]
async fn forever(db: &DatabaseConnection, begun: &Notify) -> Result<(), Error> {
    let _ = db;
    begun.notify_one();
    std::future::pending().await
}

#[tokio::test]
async fn a_future_that_is_dropped_releases() {
    let (db, begun) = (database(), Notify::new());
    let locked = async {
        begun.notified().await;
        is_locked(&db, "forever").await
    };
    tokio::select! {
        returned = forever(&db, &begun) => panic!("{returned:?}"),
        locked = locked => assert!(locked),
    }
    assert!(!is_locked(&db, "forever").await);
}

#[with_dlock(key = "panic")]
async fn panics(db: DatabaseConnection) -> Result<(), Error> {
    assert!(!is_locked(&db, "panic").await, "on purpose");
    Ok(())
}

#[tokio::test]
async fn a_body_that_panics_releases() {
    let db = database();
    let task = tokio::spawn(panics(db.clone()));
    assert!(task.await.expect_err("it panicked").is_panic());
    assert!(!is_locked(&db, "panic").await);
}

#[with_dlock(key = "closed", timeout = "1h")]
async fn until_closed(
    db: &DatabaseConnection,
    begun: &Notify,
    dropped: SetOnDrop,
) -> Result<(), Error> {
    let _ = (db, dropped);
    begun.notify_one();
    std::future::pending().await
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_body_whose_lock_is_lost_is_dropped() {
    let (db, begun, dropped) = (database(), Notify::new(), Arc::default());
    let running = until_closed(&db, &begun, SetOnDrop(Arc::clone(&dropped)));
    let losing = async {
        begun.notified().await;
        LockPool::of(&db)
            .close_timeout(std::time::Duration::ZERO)
            .await;
    };
    let (returned, ()) = tokio::join!(running, losing);
    assert!(matches!(returned, Err(Error::Lost { .. })), "{returned:?}");
    assert!(dropped.load(Ordering::SeqCst));
}

/// Says whether the lock was free when it was dropped.
struct LooksOnDrop(DatabaseConnection, Arc<AtomicBool>);

impl Drop for LooksOnDrop {
    fn drop(&mut self) {
        let held = LockPool::of(&self.0).status().held;
        self.1.store(held == 1, Ordering::SeqCst);
    }
}

#[with_dlock(key = "order")]
async fn owns(db: &DatabaseConnection, looks: LooksOnDrop) -> Result<bool, Error> {
    let _ = db;
    Ok(looks.1.load(Ordering::SeqCst))
}

#[tokio::test]
async fn what_the_body_owns_is_dropped_under_the_lock() {
    let (db, held) = (database(), Arc::default());
    let looks = LooksOnDrop(db.clone(), Arc::clone(&held));
    assert!(!owns(&db, looks).await.unwrap());
    assert!(held.load(Ordering::SeqCst));
}
