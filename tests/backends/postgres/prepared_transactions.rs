//! Locks of a prepared transaction, which no session holds.
//! <https://www.postgresql.org/docs/current/sql-prepare-transaction.html>

use dlock::{DLockExt, LockPool, Mode, PhysicalKey};
use dlock_tests::connect;

use super::server::{Server, drop_database, key, scratch_database};

#[tokio::test]
async fn a_lock_of_a_prepared_transaction_is_listed_with_its_name() {
    let (database, url) = scratch_database().await;
    let mut server = Server::at(&url).await;
    let (theirs, shared, ours) = (key(), key(), key());
    let name = format!("it's {database}");
    let quoted = name.replace('\'', "''");
    server
        .run(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock('{theirs}'::bigint); \
             SELECT pg_advisory_xact_lock_shared('{shared}'::bigint); \
             PREPARE TRANSACTION '{quoted}'"
        ))
        .await;
    // Another one without locks of ours, which is not to be taken for the holder.
    let other = format!("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'other {quoted}'");
    server.run(&other).await;
    let db = connect(&url, 1).await;
    let guard = db.dlock(ours).await.unwrap();
    assert!(db.dlock(theirs).try_acquire().await.unwrap().is_none());
    let locks = LockPool::of(&db).locks().await.unwrap();
    let of = |key| {
        let mut locks = locks.iter();
        locks
            .find(|lock| lock.key == PhysicalKey::Int(key))
            .unwrap()
    };
    for (key, mode) in [(theirs, Mode::Exclusive), (shared, Mode::Shared)] {
        let lock = of(key);
        assert!(lock.granted && lock.mode == mode, "{lock:?}");
        assert_eq!(lock.holder.session, 0);
        let holder = format!("prepared transaction '{name}'");
        assert_eq!(lock.holder.application, holder);
    }
    assert!(of(ours).holder.session > 0);
    guard.release().await.unwrap();
    for name in [&quoted, &format!("other {quoted}")] {
        server.run(&format!("ROLLBACK PREPARED '{name}'")).await;
    }
    let guard = db.dlock(theirs).try_acquire().await.unwrap();
    guard.expect("it is free").release().await.unwrap();
    LockPool::of(&db).close().await;
    drop_database(&database).await;
}
