//! Keys: what PostgreSQL knows a lock by, and that Python's sqlalchemy-dlock knows it by the same.

use dlock::{DLockExt, DLockGuard, Error, Key, LockPool, PhysicalKey};
use dlock_tests::connect;
use sea_orm::DatabaseConnection;
use sea_orm::prelude::Uuid;
use serde_json::Value;

use super::server::{PATIENCE, Server, key, name, url};

const VECTORS: &str = include_str!("../../vectors/keys.json");

/// The rows of a library on PostgreSQL.
pub(super) fn rows(library: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
    let rows = vectors["vectors"].as_array().into_iter().flatten().cloned();
    rows.filter(|row| row["database"] == "postgresql" && row["library"] == library)
        .collect()
}

/// Every row is a shared lock, so that rows with one physical key do not wait for each other.
async fn shared(db: &DatabaseConnection, key: impl Into<Key>) -> Result<DLockGuard, Error> {
    db.dlock(key).shared().timeout(PATIENCE).await
}

#[tokio::test]
async fn every_key_of_sqlalchemy_dlock_is_the_same_lock_here() {
    let db = connect(&url(), 1).await;
    let rows = rows("sqlalchemy-dlock");
    let mut guards = Vec::new();
    let mut refused = Vec::new();
    for row in &rows {
        let value = row["input"]["value"].as_str().unwrap();
        let result = match row["input"]["type"].as_str().unwrap() {
            "str" => shared(&db, value).await,
            "bytes" => shared(&db, hex(value)).await,
            "int" => match value.parse::<i64>() {
                Ok(int) => shared(&db, int).await,
                Err(_) => {
                    // Python raises an OverflowError; in Rust such a number is no `Key` at all.
                    assert!(row["error"].as_str().unwrap().starts_with("OverflowError"));
                    refused.push(value);
                    continue;
                }
            },
            other => panic!("Rust has no counterpart for the type {other}: {row}"),
        };
        match result {
            Ok(guard) => {
                let expected = row["key"]["value"].as_str().unwrap().parse().unwrap();
                assert_eq!(*guard.physical_key(), PhysicalKey::Int(expected), "{row}");
                guards.push(guard);
            }
            Err(Error::InvalidKey { .. }) => refused.push(value),
            Err(error) => panic!("{row}: {error}"),
        }
    }
    assert_eq!(guards.len(), 39);
    // Python hashes the empty key; dlock refuses it, by choice.
    refused.sort_unstable();
    let overflow = format!("1{}", "0".repeat(64));
    assert_eq!(
        refused,
        ["", "-9223372036854775809", &overflow, "9223372036854775808"]
    );
    for guard in guards {
        guard.release().await.unwrap();
    }
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// What `Key` for `shared-identifier` is in Python, from the vectors.
const SHARED_IDENTIFIER: i64 = 8_449_034_108_279_497_669;

#[tokio::test]
async fn a_text_key_excludes_the_raw_number_of_python_and_is_excluded_by_it() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let lock = || db.dlock("shared-identifier").timeout(PATIENCE);

    let guard = lock().await.unwrap();
    assert!(!server.can_take(SHARED_IDENTIFIER).await);
    guard.release().await.unwrap();

    server.lock(SHARED_IDENTIFIER).await;
    let tried = db.dlock("shared-identifier").try_acquire().await.unwrap();
    assert!(tried.is_none());
    server.unlock(SHARED_IDENTIFIER).await;
    lock().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn every_integer_is_itself() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    for int in [i64::MIN, i64::MAX, 0, -1, i64::from(u32::MAX), 1 << 32] {
        let guard = db.dlock(int).timeout(PATIENCE).await.unwrap();
        assert_eq!(*guard.physical_key(), PhysicalKey::Int(int));
        assert_eq!(server.holders(int).await, 1, "{int}");
        assert!(!server.can_take(int).await, "{int}");
        guard.release().await.unwrap();
        server.until_free(int).await;
    }
}

#[tokio::test]
async fn pairs_are_a_key_space_of_their_own_with_both_signs() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let (a, b) = (fastrand::i32(..=-1), fastrand::i32(1..));
    let pairs = [(a, b), (b, a), (a, a), (b, b), (i32::MIN, a), (a, i32::MAX)];
    for (a, b) in pairs {
        let pair = db.dlock((a, b)).timeout(PATIENCE).await.unwrap();
        assert_eq!(*pair.physical_key(), PhysicalKey::Pair(a, b));
        assert!(!server.is(&format!("pg_try_advisory_lock({a}, {b})")).await);
        let held = format!(
            "pg_locks WHERE objsubid = 2 AND classid::bigint = {} AND objid::bigint = {} AND granted",
            a.cast_unsigned(),
            b.cast_unsigned()
        );
        assert_eq!(server.count(&held).await, 1);

        // The same 64 bits as one number are another lock.
        let int = i64::from(a) << 32 | i64::from(b.cast_unsigned());
        assert!(server.can_take(int).await);
        let int = db.dlock(int).try_acquire().await.unwrap();
        assert!(int.is_some());
        pair.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_waited_for_pair_is_the_pair_and_not_the_number() {
    let db = connect(&url(), 1).await;
    let mut server = Server::main().await;
    let (a, b) = (fastrand::i32(..=-1), fastrand::i32(..=-1));
    server
        .run(&format!("SELECT pg_advisory_lock({a}, {b})"))
        .await;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock((a, b)).timeout(PATIENCE).await }
    });
    // It waits on the server, or tries again and again until it does.
    let waits = format!(
        "EXISTS (SELECT FROM pg_locks WHERE objsubid = 2 AND classid::bigint = {} AND objid::bigint = {} AND NOT granted)",
        a.cast_unsigned(),
        b.cast_unsigned()
    );
    server.until(&waits).await;
    assert!(server.is(&format!("pg_advisory_unlock({a}, {b})")).await);
    let guard = waiter.await.unwrap().unwrap();
    assert_eq!(*guard.physical_key(), PhysicalKey::Pair(a, b));
}

#[tokio::test]
async fn a_namespace_is_a_prefix_of_the_text_key() {
    let db = connect(&url(), 1).await;
    let billing = name();
    let inside = LockPool::builder(&db).namespace(&billing).build();
    let (a, b) = (fastrand::i32(..), fastrand::i32(..));
    let id = key();
    let cases: [(Key, String); 4] = [
        (id.into(), format!("{billing}:{id}")),
        ("invoice".into(), format!("{billing}:invoice")),
        ((&b"invoice/2"[..]).into(), format!("{billing}:invoice/2")),
        ((a, b).into(), format!("{billing}:{a},{b}")),
    ];
    for (within, text) in cases {
        let guard = inside.dlock(&within).await.unwrap();
        assert!(db.dlock(&text).try_acquire().await.unwrap().is_none());
        // Without the namespace it is another lock.
        let outside = db.dlock(&within).timeout(PATIENCE).await.unwrap();
        assert_ne!(guard.physical_key(), outside.physical_key());
        let physical = guard.physical_key().clone();
        guard.release().await.unwrap();
        let guard = db.dlock(text).timeout(PATIENCE).await.unwrap();
        assert_eq!(*guard.physical_key(), physical);
    }
}

#[tokio::test]
async fn a_uuid_is_its_hyphenated_lower_case_text() {
    let db = connect(&url(), 1).await;
    let uuid = Uuid::from_u128(fastrand::u128(..));
    let text = uuid.to_string();
    assert_eq!(text, text.to_lowercase());
    assert_eq!(text.matches('-').count(), 4);
    let guard = db.dlock(uuid).await.unwrap();
    assert!(db.dlock(text).try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn text_and_bytes_with_one_content_are_one_key_and_a_number_is_not_its_text() {
    let db = connect(&url(), 1).await;
    let id = key();
    let text = db.dlock(id.to_string()).await.unwrap();
    let bytes = id.to_string().into_bytes();
    assert!(db.dlock(bytes).try_acquire().await.unwrap().is_none());
    assert!(db.dlock(id).try_acquire().await.unwrap().is_some());
    drop(text);
}
