//! Keys: what the servers know a lock by, and that the libraries of Python know it by the same.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use dlock::{DLockExt, Error, Key, LockPool, PhysicalKey};
use sea_orm::DatabaseConnection;
use sea_orm::prelude::Uuid;
use serde_json::Value;

use super::options::name;
use super::raw::{Raw, get_lock};
use super::{Scene, Server};
use crate::suite::{Failure, Outcome, PATIENCE};

const VECTORS: &str = include_str!("../../vectors/keys.json");

/// The rows of a library, each with its key in Rust.
fn vectors(library: &str) -> Outcome<Vec<(Value, Option<Key>)>> {
    let vectors: Value = serde_json::from_str(VECTORS)?;
    let rows = vectors["vectors"].as_array().into_iter().flatten().cloned();
    let rows = rows.filter(|row| row["database"] == "mysql" && row["library"] == library);
    rows.map(|row| {
        let value = row["input"]["value"].as_str().unwrap_or_default();
        let key = match row["input"]["type"].as_str().unwrap_or_default() {
            "str" => Some(value.into()),
            "bytes" => Some(hex(value)?.into()),
            // In Rust a number that is larger is no `Key` at all.
            "int" => value.parse::<i64>().ok().map(Key::from),
            other => return Err(Failure::new(format!("no such type in Rust: {other}"))),
        };
        Ok((row, key))
    })
    .collect()
}

fn hex(text: &str) -> Outcome<Vec<u8>> {
    let digit = |at: usize| Ok(u8::from_str_radix(&text[at..at + 2], 16)?);
    (0..text.len()).step_by(2).map(digit).collect()
}

/// As `printf %s NAME | b2sum -l 256` prints it.
fn hash(text: &str) -> String {
    let digest = Blake2b::<U32>::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the lock of this text has to be called: by itself, if the server takes it and does not cut it.
async fn name_of(raw: &mut Raw, text: &str) -> Outcome<String> {
    let refused = raw.row(&get_lock(text, "0")).await.is_err();
    if !refused {
        raw.releases(text).await?;
    }
    Ok(match refused || text.contains('\0') {
        true => hash(text),
        false => text.to_owned(),
    })
}

/// The lock of this key in a pool of its own, and one of this name from Python, exclude each other.
async fn are_one_lock(db: &DatabaseConnection, raw: &mut Raw, key: &Key, name: &str) -> Outcome {
    let pool = LockPool::builder(db).build();
    let guard = pool.dlock(key).timeout(PATIENCE).await?;
    assert_eq!(*guard.physical_key(), PhysicalKey::Name(name.into()));
    assert!(!raw.gets(name).await?, "{name}");
    guard.release().await?;
    raw.lock(name).await?;
    assert!(pool.dlock(key).try_acquire().await?.is_none(), "{name}");
    raw.unlock(name).await?;
    pool.dlock(key).timeout(PATIENCE).await?.release().await?;
    pool.close().await;
    Ok(())
}

async fn every_key_of<S: Server>(scene: &Scene<S>, library: &str) -> Outcome<[usize; 3]> {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let (mut same, mut hashed, mut none) = (0, 0, 0);
    for (row, key) in vectors(library)? {
        let text = row["input"]["value"].as_str().unwrap_or_default();
        let Some(key) = key else {
            none += 1;
            continue;
        };
        // In Python it fails, or it does not, by the library and by the server: here it is a lock, as long as it is text.
        if text.is_empty()
            || row["error"]
                .as_str()
                .is_some_and(|error| error.contains("Unicode"))
        {
            let refused = db.dlock(&key).await;
            assert!(matches!(refused, Err(Error::InvalidKey { .. })), "{row}");
            none += 1;
            continue;
        }
        let name = name_of(&mut raw, text).await?;
        are_one_lock(&db, &mut raw, &key, &name).await?;
        match name == text {
            true => same += 1,
            false => hashed += 1,
        }
    }
    Ok([same, hashed, none])
}

pub(crate) async fn every_key_of_sqlalchemy_dlock_is_the_same_lock_here<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let [same, hashed, none] = every_key_of(scene, "sqlalchemy-dlock").await?;
    // Not a key: empty text and bytes, a number of 65 bits, twice what is not UTF-8.
    assert_eq!(none, 5);
    let (names, hashes) = if S::FOLDS_CASE { (25, 12) } else { (29, 8) };
    assert_eq!((same, hashed), (names, hashes));
    Ok(())
}

pub(crate) async fn every_key_of_pymysqllock_is_the_same_lock_here<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let [same, hashed, none] = every_key_of(scene, "PyMySQLLock").await?;
    assert_eq!(none, 0);
    let (names, hashes) = if S::FOLDS_CASE { (15, 12) } else { (20, 7) };
    assert_eq!((same, hashed), (names, hashes));
    Ok(())
}

pub(crate) async fn a_name_that_the_server_does_not_take_is_hashed_like_this<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    for (text, hash) in [
        (
            "a\0b".to_owned(),
            "f2c67fb755da2d22dea00c49aa161fa4457ada51c50260da341260b4752f74d1",
        ),
        (
            "x".repeat(193),
            "22fdf7b7afd8b2de9d4a4701b606007c018aed46e9c5371d452fab51a9777d40",
        ),
        (
            "😀".repeat(64),
            "43dc94d75fa7e7d05e40db6623d9ea4325b5f3e2082b7a70f1d5028f93de0e2d",
        ),
    ] {
        let guard = db.dlock(&text).timeout(PATIENCE).await?;
        assert_eq!(guard.physical_key().to_string(), hash);
        guard.release().await?;
    }
    Ok(())
}

pub(crate) async fn an_integer_is_its_decimal_text<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    for int in [0, -1, i64::MIN, i64::MAX, fastrand::i64(..)] {
        are_one_lock(&db, &mut raw, &int.into(), &int.to_string()).await?;
    }
    Ok(())
}

pub(crate) async fn a_uuid_is_its_hyphenated_lower_case_text<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let uuid = Uuid::from_u128(fastrand::u128(..));
    let text = uuid.to_string();
    assert_eq!(text, text.to_lowercase());
    are_one_lock(&db, &mut raw, &uuid.into(), &text).await
}

pub(crate) async fn text_and_bytes_with_one_content_are_one_lock<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let text = format!("grüße {}", name());
    are_one_lock(&db, &mut raw, &text.as_bytes().into(), &text).await
}

pub(crate) async fn quotes_and_backslashes_are_part_of_the_name<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let id = name();
    for odd in [
        "'", "\"", "\\", "\\'", "`", "?", "%s", ":key", "--", "/*!", "\n", "\u{7f}",
    ] {
        let text = format!("{odd}{id}{odd}");
        are_one_lock(&db, &mut raw, &text.as_str().into(), &text).await?;
    }
    Ok(())
}
