//! What dlock leaves in `pg_stat_statements`: entries for kinds of statements, none for keys.
//! <https://www.postgresql.org/docs/current/pgstatstatements.html>

use std::time::Duration;

use dlock::{DLockExt, LockPool};
use dlock_tests::connect;
use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use tokio::task::JoinSet;

use super::server::{Server, drop_database, key, scratch_database};

/// Everything that dlock does with a key, on so many keys, each of which is contended.
async fn use_keys(db: &DatabaseConnection, url: &str, number: usize) {
    let keys: Vec<i64> = (0..number).map(|_| key()).collect();
    let mut server = Server::at(url).await;
    for key in &keys {
        server.lock(*key).await;
    }
    let mut tasks = JoinSet::new();
    for key in keys {
        let db = db.clone();
        tasks.spawn(async move {
            let wait = Duration::from_millis(300);
            let held = "another session holds it";
            db.dlock(key).timeout(wait).await.expect_err(held);
            db.dlock(key).shared().timeout(wait).await.expect_err(held);
            let pair = ((key >> 32) as i32, key as i32);
            use_and_release(&db, pair).await?;
            let txn = db.begin().await?;
            txn.dlock(key).xact().timeout(wait).await.expect_err(held);
            assert!(txn.dlock(pair).xact().try_acquire().await?);
            txn.rollback().await
        });
    }
    for used in tasks.join_all().await {
        used.expect("it works");
    }
    LockPool::of(db).locks().await.expect("they are listed");
}

async fn use_and_release(db: &DatabaseConnection, pair: (i32, i32)) -> Result<(), DbErr> {
    db.dlock(pair).await?.release().await?;
    Ok(db.dlock(pair).pinned().await?.release().await?)
}

#[tokio::test]
async fn the_number_of_entries_does_not_grow_with_the_number_of_keys() {
    let (database, url) = scratch_database().await;
    let mut server = Server::at(&url).await;
    server.run("CREATE EXTENSION pg_stat_statements").await;
    let entries = "pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database \
                   WHERE datname = current_database())";
    let blocks = format!("{entries} AND query LIKE 'DO $dlock$%'");
    let db = connect(&url, 4).await;
    use_keys(&db, &url, 3).await;
    let (few, few_blocks) = (server.count(entries).await, server.count(&blocks).await);
    assert!(
        few >= 5 && few_blocks >= 2,
        "{few} entries, {few_blocks} blocks"
    );
    use_keys(&db, &url, 40).await;
    let (many, many_blocks) = (server.count(entries).await, server.count(&blocks).await);
    // Batches have a statement for each combination of what they carry, and blocks one for each mode
    // and kind of key.
    assert!(many <= few + 20, "{few} entries, then {many}");
    assert!(many_blocks <= 6, "{few_blocks} blocks, then {many_blocks}");
    LockPool::of(&db).close().await;
    db.close().await.unwrap();
    drop_database(&database).await;
}
