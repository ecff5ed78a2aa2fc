//! Each lock that is held is an open file, and a process may have so many.

use dlock::DLockExt;
use dlock_tests::Way;

use super::database::{Scratch, held};
use crate::suite::{Outcome, Peer};

#[tokio::test]
async fn a_process_with_too_many_says_so_and_keeps_what_it_holds() -> Outcome {
    let scratch = Scratch::create().await;
    let mut peer = Peer::start_after("ulimit -n 64", &scratch.url()).await?;
    let mut locks = Vec::new();
    let refused = loop {
        let key = locks.len() as i64;
        peer.order(format!("try {key} {}", Way::PLAIN)).await?;
        match peer.answer().await?.as_str() {
            "held" => locks.push(key),
            refused => break refused.to_owned(),
        }
        assert!(locks.len() < 64, "it is not limited");
    };
    assert!(refused.contains("ulimit -n"), "{refused}");
    assert!(locks.len() > 10, "{locks:?}");
    for key in &locks {
        assert_eq!(held(&scratch.lock_file(&key.to_string())), 1, "{key}");
    }
    // What it gives back it can take again, and what it was refused is free.
    peer.release(locks[0]).await?;
    assert!(peer.try_hold(locks[0], Way::PLAIN).await?);
    let db = scratch.db().await;
    let free = db.dlock(locks.len() as i64).try_acquire().await?;
    assert!(free.is_some());
    Ok(())
}
