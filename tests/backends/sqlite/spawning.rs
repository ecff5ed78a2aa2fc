//! A process that is being started inherits the files of its parent for a moment.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dlock::DLockExt;

use super::database::Scratch;
use crate::suite::{Failure, Outcome};

const KEY: i64 = 42;

/// Starts processes, one after the other, until it is told to stop.
fn start_processes(stop: Arc<AtomicBool>) -> thread::JoinHandle<std::io::Result<()>> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            // A folder of its own makes Rust fork.
            Command::new("true").current_dir("/").status()?;
        }
        Ok(())
    })
}

#[tokio::test]
async fn a_lock_is_free_when_it_is_released_even_while_processes_are_started() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let theirs = scratch.db().await;
    let stop = Arc::new(AtomicBool::new(false));
    let starting = start_processes(Arc::clone(&stop));
    let mut refused = 0;
    for _ in 0..3000 {
        db.dlock(KEY).shared().await?.release().await?;
        let writer = theirs.dlock(KEY).try_acquire().await?;
        refused += usize::from(writer.is_none());
    }
    stop.store(true, Ordering::Relaxed);
    let started = starting.join();
    started.map_err(|_| Failure::new("the thread panicked"))??;
    assert_eq!(refused, 0);
    Ok(())
}
