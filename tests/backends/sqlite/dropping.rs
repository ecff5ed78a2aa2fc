//! A guard that is dropped has released when the drop returns, without any runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dlock::{DLockExt, DLockGuard};
use sea_orm::DatabaseConnection;
use tokio::runtime::{Builder, Runtime};

use super::database::{Scratch, held};
use crate::suite::{Outcome, waiting};
use dlock_tests::Way;

const KEY: i64 = 42;
const NAME: &str = "42";

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A lock that was taken on a runtime which nobody drives any more.
struct Stranded {
    runtime: Runtime,
    scratch: Scratch,
    db: DatabaseConnection,
}

impl Stranded {
    fn hold(way: Way) -> Outcome<(Self, DLockGuard)> {
        let runtime = runtime()?;
        let (scratch, db, guard) = runtime.block_on(async {
            let scratch = Scratch::create().await;
            let db = scratch.db().await;
            let lock = db.dlock(KEY);
            let guard = match way {
                Way::SHARED => lock.shared().await?,
                _ => lock.await?,
            };
            Ok::<_, crate::suite::Failure>((scratch, db, guard))
        })?;
        let stranded = Self {
            runtime,
            scratch,
            db,
        };
        assert_eq!(stranded.held(), 1);
        Ok((stranded, guard))
    }

    fn held(&self) -> usize {
        held(&self.scratch.lock_file(NAME))
    }

    /// For another pool, and for another process.
    fn is_free(&self) -> Outcome {
        assert_eq!(self.held(), 0);
        runtime()?.block_on(async {
            let theirs = self.scratch.db().await;
            let got = theirs.dlock(KEY).try_acquire().await?;
            got.expect("it is free").release().await?;
            let mut peer = self.scratch.peer().await?;
            assert!(peer.try_hold(KEY, Way::PLAIN).await?);
            Ok(())
        })
    }
}

#[test]
fn a_drop_on_a_plain_thread_has_released_when_it_returns() -> Outcome {
    for way in [Way::PLAIN, Way::SHARED] {
        let (stranded, guard) = Stranded::hold(way)?;
        drop(guard);
        stranded.is_free()?;
    }
    Ok(())
}

#[test]
fn a_drop_in_a_panic_has_released_when_it_is_caught() -> Outcome {
    let (stranded, guard) = Stranded::hold(Way::PLAIN)?;
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _guard = guard;
        panic!("this panic is part of the test");
    }));
    assert!(panicked.is_err());
    stranded.is_free()
}

#[test]
fn a_release_that_is_never_awaited_has_released() -> Outcome {
    let (stranded, guard) = Stranded::hold(Way::PLAIN)?;
    drop(guard.release());
    stranded.is_free()
}

#[test]
fn a_drop_on_a_plain_thread_hands_the_lock_to_who_waits_in_the_same_pool() -> Outcome {
    let (stranded, guard) = Stranded::hold(Way::PLAIN)?;
    let waiter = stranded.runtime.block_on(async {
        let db = stranded.db.clone();
        let waiter = tokio::spawn(async move { db.dlock(KEY).await });
        waiting(&stranded.db, 1).await?;
        Ok::<_, crate::suite::Failure>(waiter)
    })?;
    drop(guard);
    // Nobody has driven the waiter, and the lock is its own already.
    assert_eq!(stranded.held(), 1);
    let next = stranded
        .runtime
        .block_on(async { crate::suite::soon("the lock", waiter).await })???;
    assert!(next.is_held());
    drop(next);
    stranded.is_free()
}
