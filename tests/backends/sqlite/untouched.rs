//! The user's database is not written to.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use sea_orm::ConnectionTrait;

use super::database::Scratch;
use crate::suite::Outcome;

const KEY: i64 = 42;

#[derive(Debug, PartialEq)]
struct Snapshot {
    bytes: Vec<u8>,
    modified: SystemTime,
    beside: Vec<String>,
}

impl Snapshot {
    fn of(file: &Path) -> Outcome<Self> {
        let folder = file.parent().expect("it is in a folder");
        let mut beside = Vec::new();
        for entry in fs::read_dir(folder)? {
            beside.push(entry?.file_name().to_string_lossy().into_owned());
        }
        beside.retain(|name| name.starts_with("plain.db") && name != "plain.db.dlock");
        beside.sort();
        Ok(Self {
            bytes: fs::read(file)?,
            modified: fs::metadata(file)?.modified()?,
            beside,
        })
    }
}

#[tokio::test]
async fn locking_waiting_and_listing_do_not_write_to_the_database() -> Outcome {
    let scratch = Scratch::create().await;
    let file = scratch.folder.join("plain.db");
    let url = format!("sqlite:{}?mode=rwc", file.display());
    let (ours, theirs) = (connect(&url, 2).await, connect(&url, 2).await);
    ours.execute_unprepared("CREATE TABLE t (n)").await?;
    // So that another write would show in the time.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = Snapshot::of(&file)?;
    assert_eq!(before.beside, ["plain.db"]);

    let held = theirs.dlock(KEY).await?;
    for other in 0..20_i64 {
        let guard = ours.dlock(other).await?;
        assert_eq!(Snapshot::of(&file)?, before);
        guard.release().await?;
        let limit = Duration::from_millis(10);
        let waited = ours.dlock(KEY).timeout(limit).await;
        assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
        drop(ours.dlock(other).shared().await?);
    }
    assert!(!LockPool::of(&ours).locks().await?.is_empty());
    assert_eq!(Snapshot::of(&file)?, before);
    held.release().await?;
    LockPool::of(&ours).close().await;
    LockPool::of(&theirs).close().await;
    assert_eq!(Snapshot::of(&file)?, before);
    Ok(())
}
