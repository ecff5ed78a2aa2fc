//! A database file with a second name: each has a directory of locks beside it, so it is refused by both.

use std::fs;
use std::path::Path;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use sea_orm::DatabaseConnection;

use super::database::Scratch;
use crate::suite::Outcome;

const KEY: i64 = 42;

/// The application's connection to a database that is there.
pub(super) async fn database(file: &Path) -> DatabaseConnection {
    connect(&format!("sqlite:{}", file.display()), 2).await
}

/// Plain, shared and pinned locks, and the listing.
pub(super) async fn is_refused(db: &DatabaseConnection, found: &str, way_out: &str) {
    let refusals = [
        db.dlock(KEY).await.map(drop),
        db.dlock(KEY).shared().try_acquire().await.map(drop),
        db.dlock(KEY).pinned().await.map(drop),
        db.dlock(KEY).run(async |_lock| Ok::<_, Error>(())).await,
        LockPool::of(db).locks().await.map(drop),
    ];
    for refused in refusals {
        let Err(Error::Refused { .. }) = &refused else {
            panic!("{refused:?}");
        };
        let words = refused.expect_err("it is refused").to_string();
        assert!(words.contains(found) && words.contains(way_out), "{words}");
    }
}

#[tokio::test]
async fn a_hard_link_is_refused_by_either_name_until_it_is_removed() -> Outcome {
    let scratch = Scratch::create().await;
    let link = scratch.folder.join("link.db");
    let before = scratch.db().await;
    before.dlock(KEY).await?.release().await?;
    fs::hard_link(scratch.file(), &link)?;
    for file in [&scratch.file(), &link] {
        let db = database(file).await;
        is_refused(&db, "2 names", "remove the other names").await;
    }
    assert!(!scratch.folder.join("link.db.dlock").exists());

    let db = database(&scratch.file()).await;
    is_refused(&db, "2 names", "remove the other names").await;
    fs::remove_file(&link)?;
    db.dlock(KEY).await?.release().await?;
    Ok(())
}
