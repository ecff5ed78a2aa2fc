//! The runtime of a pool ends while it holds locks.

use std::fs::File;
use std::path::Path;
use std::thread;

use dlock::{DLockExt, DLockGuard};
use tokio::runtime::Runtime;

use super::database::Scratch;
use crate::suite::{Failure, Outcome};

const LOCKS: i64 = 300;

/// Whether anybody could have it now.
fn is_free(file: &Path) -> bool {
    File::open(file).map_or(true, |file| file.try_lock_shared().is_ok())
}

#[test]
fn guards_hear_before_their_locks_are_free() -> Outcome {
    for _ in 0..20 {
        let runtime = Runtime::new()?;
        let (scratch, guards) = runtime.block_on(async {
            let scratch = Scratch::create().await;
            let db = scratch.db().await;
            let mut guards: Vec<DLockGuard> = Vec::new();
            for key in 0..LOCKS {
                guards.push(db.dlock(key).await?);
            }
            Ok::<_, dlock::Error>((scratch, guards))
        })?;
        let ending = thread::spawn(move || drop(runtime));
        let mut left: Vec<_> = guards
            .iter()
            .map(|guard| (guard, scratch.lock_file(&guard.key().to_string())))
            .collect();
        while !left.is_empty() {
            left.retain(|(guard, file)| {
                let free = is_free(file);
                assert!(!free || !guard.is_held(), "{}", guard.key());
                !free
            });
        }
        ending.join().map_err(|_| Failure::new("it panicked"))?;
    }
    Ok(())
}
