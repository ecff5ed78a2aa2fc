//! `dlock::compat`: who locks with postgres-lock or with sqlx, and who locks here, exclude each other.

use dlock::{DLockExt, Key, PhysicalKey, compat};
use dlock_tests::connect;
use sea_orm::sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockKey};
use sea_orm::sqlx::{ConnectOptions, PgConnection};
use sea_orm::{DatabaseConnection, TransactionTrait};

use super::keys::{hex, rows};
use super::server::{PATIENCE, Server, key, name, options, url};
use crate::suite::Outcome;

/// What Python's `str` makes of bytes.
fn printed(bytes: &[u8]) -> String {
    let quote = match (bytes.contains(&b'\''), bytes.contains(&b'"')) {
        (true, false) => '"',
        _ => '\'',
    };
    let escaped: String = bytes
        .iter()
        .map(|byte| match char::from(*byte) {
            '\t' => "\\t".into(),
            '\n' => "\\n".into(),
            '\r' => "\\r".into(),
            '\\' => "\\\\".into(),
            c if c == quote => format!("\\{c}"),
            c @ ' '..='~' => c.into(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect();
    format!("b{quote}{escaped}{quote}")
}

#[tokio::test]
async fn every_key_of_postgres_lock_is_the_same_lock_here() {
    let db = connect(&url(), 1).await;
    let mut python = Server::main().await;
    let rows = rows("postgres-lock");
    assert_eq!(rows.len(), 50);
    for row in rows {
        let value = row["input"]["value"].as_str().unwrap();
        let text = match row["input"]["type"].as_str().unwrap() {
            "str" | "int" => value.to_owned(),
            "bytes" => printed(&hex(value)),
            other => panic!("no such type in the vectors: {other}"),
        };
        let id: i64 = row["key"]["value"].as_str().unwrap().parse().unwrap();
        let lock = || db.dlock(compat::postgres_lock(&text)).timeout(PATIENCE);

        let guard = lock().await.unwrap();
        assert_eq!(*guard.physical_key(), PhysicalKey::Int(id), "{row}");
        assert!(!python.is(&take(id)).await, "{row}");
        guard.release().await.unwrap();
        python.until_free(id).await;
    }
}

/// As postgres-lock writes it.
fn take(id: i64) -> String {
    format!("pg_catalog.pg_try_advisory_lock({id})")
}

fn release(id: i64) -> String {
    format!("pg_catalog.pg_advisory_unlock({id})")
}

fn number(key: &Key) -> i64 {
    key.to_string().parse().expect("an integer key")
}

#[tokio::test]
async fn postgres_lock_and_dlock_exclude_each_other() {
    let db = connect(&url(), 1).await;
    let mut python = Server::main().await;
    for derive in [compat::postgres_lock, compat::postgresql_lock] {
        let key = derive(name());
        let id = number(&key);

        let guard = db.dlock(&key).timeout(PATIENCE).await.unwrap();
        assert!(!python.is(&take(id)).await);
        guard.release().await.unwrap();

        python.until_free(id).await;
        assert!(python.is(&take(id)).await);
        assert!(db.dlock(&key).try_acquire().await.unwrap().is_none());
        assert!(python.is(&release(id)).await);
        let guard = db.dlock(&key).timeout(PATIENCE).await.unwrap();
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn shared_and_transaction_locks_of_postgres_lock_meet_those_of_dlock() {
    let db = connect(&url(), 1).await;
    let mut python = Server::main().await;
    let key = compat::postgres_lock(name());
    let id = number(&key);

    // Lock(.., shared=True)
    let shared = format!("pg_catalog.pg_try_advisory_lock_shared({id})");
    assert!(python.is(&shared).await);
    let reader = db.dlock(&key).shared().timeout(PATIENCE).await.unwrap();
    assert!(db.dlock(&key).try_acquire().await.unwrap().is_none());
    reader.release().await.unwrap();
    let release = format!("pg_catalog.pg_advisory_unlock_shared({id})");
    assert!(python.is(&release).await);

    // Lock(.., scope="transaction")
    let take = format!("pg_catalog.pg_try_advisory_xact_lock({id})");
    let txn = db.begin().await.unwrap();
    python.run("BEGIN").await;
    python.until(&take).await;
    assert!(!txn.dlock(&key).xact().try_acquire().await.unwrap());
    python.run("COMMIT").await;
    assert!(txn.dlock(&key).xact().try_acquire().await.unwrap());
    assert!(!python.is(&take).await);
    txn.rollback().await.unwrap();
}

async fn exclude_each_other(db: &DatabaseConnection, theirs: PgAdvisoryLock, ours: Key) -> Outcome {
    let mut session: PgConnection = options(&url()).connect().await?;

    let guard = db.dlock(&ours).timeout(PATIENCE).await?;
    let refused = theirs.try_acquire(&mut session).await?.is_right();
    assert!(refused, "{ours}");
    guard.release().await?;

    let guard = theirs.acquire(&mut session).await?;
    assert!(db.dlock(&ours).try_acquire().await?.is_none());
    guard.release_now().await?;
    let guard = db.dlock(&ours).timeout(PATIENCE).await?;
    Ok(guard.release().await?)
}

#[tokio::test]
async fn an_advisory_lock_of_sqlx_and_dlock_exclude_each_other() {
    let db = connect(&url(), 1).await;
    for text in [name(), format!("{} Grüße", name())] {
        exclude_each_other(&db, PgAdvisoryLock::new(&text), compat::sqlx(&text))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_advisory_lock_of_sqlx_with_a_key_of_its_own_has_that_key_here() {
    let db = connect(&url(), 1).await;
    let number = key();
    let lock = PgAdvisoryLock::with_key(PgAdvisoryLockKey::BigInt(number));
    exclude_each_other(&db, lock, number.into()).await.unwrap();

    let (a, b) = (fastrand::i32(..), fastrand::i32(..));
    let lock = PgAdvisoryLock::with_key(PgAdvisoryLockKey::IntPair(a, b));
    exclude_each_other(&db, lock, (a, b).into()).await.unwrap();
}
