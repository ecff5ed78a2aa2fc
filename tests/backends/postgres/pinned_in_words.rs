//! Transactions that the holder of a pinned lock begins in words, of which SeaORM and sqlx know nothing.

use std::time::Duration;

use dlock::DLockExt;
use dlock_tests::connect;
use sea_orm::ConnectionTrait;
use tokio::time::sleep;

use super::server::{Server, holders, key, name, url};

/// Begun in words, it is nobody's business but the holder's.
#[tokio::test]
async fn a_failed_transaction_is_no_loss_of_a_pinned_lock() {
    let db = connect(&url(), 1).await;
    let (key, mut server) = (key(), Server::main().await);
    let guard = db.dlock(key).pinned().await.unwrap();
    guard.execute_unprepared("BEGIN").await.unwrap();
    assert!(guard.execute_unprepared("SELECT 1 / 0").await.is_err());
    // Until the session has been looked at a few times.
    sleep(Duration::from_millis(1800)).await;
    assert!(guard.is_held());
    guard.execute_unprepared("ROLLBACK").await.unwrap();
    guard.execute_unprepared("SELECT 1").await.unwrap();
    assert_eq!(server.holders(key).await, 1);
    guard.release().await.unwrap();
}

/// Who waits for the lock on the server, and looks at the row in the same breath.
#[tokio::test]
async fn a_transaction_in_words_is_over_when_the_server_gives_the_lock_on() {
    let db = connect(&url(), 1).await;
    let (table, mut admin) = (name(), Server::main().await);
    admin
        .run(&format!(
            "CREATE TABLE {table} (n int); INSERT INTO {table} VALUES (0)"
        ))
        .await;
    let mut held_up = 0;
    for round in 0..10 {
        let key = key();
        let guard = db.dlock(key).pinned().await.unwrap();
        guard.execute_unprepared("BEGIN").await.unwrap();
        guard
            .execute_unprepared(&format!("UPDATE {table} SET n = 7"))
            .await
            .unwrap();
        let next = tokio::spawn({
            let look = format!(
                "DO $$ BEGIN PERFORM pg_advisory_lock('{key}'::bigint); END $$; \
                 SELECT count(*) FROM (SELECT n FROM {table} FOR UPDATE SKIP LOCKED) free"
            );
            async move { Server::main().await.ask(&look).await }
        });
        admin.until_wanted(key, 1).await;
        match round % 2 {
            0 => guard.release().await.unwrap(),
            _ => drop(guard),
        }
        held_up += usize::from(next.await.unwrap() != "1");
        let ended = format!("NOT EXISTS (SELECT FROM {})", holders(key));
        admin.until(&ended).await;
    }
    admin.run(&format!("DROP TABLE {table}")).await;
    assert_eq!(held_up, 0, "of 10");
}
