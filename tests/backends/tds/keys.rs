//! Keys: what the server knows a lock by, and that sqlalchemy-dlock knows it by the same.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use dlock::{DLockExt, Error, Key, LockPool, PhysicalKey};
use serde_json::Value;

use super::Scene;
use crate::suite::{Failure, Outcome};

const VECTORS: &str = include_str!("../../vectors/keys.json");

/// As `printf %s NAME | b2sum -l 256` prints it.
fn hash(text: &str) -> String {
    let digest = Blake2b::<U32>::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lock of this key is the one of this name, here and at the server.
async fn is_called(scene: &Scene, pool: &LockPool, key: impl Into<Key>, name: &str) -> Outcome {
    let guard = pool.dlock(key).await?;
    assert_eq!(*guard.physical_key(), PhysicalKey::Name(name.into()));
    let entries = scene.locks().entries();
    assert!(
        matches!(entries.as_slice(), [entry] if entry.name == name),
        "{name}: {entries:?}"
    );
    Ok(guard.release().await?)
}

#[tokio::test]
async fn a_name_that_the_server_would_cut_is_hashed_and_no_other() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    for whole in [
        "x".repeat(255),
        "é".repeat(255),
        "键".repeat(255),
        "😀".repeat(127) + "x",
    ] {
        is_called(&scene, &pool, &whole, &whole).await?;
    }
    for (long, hash) in [
        (
            "x".repeat(256),
            "cb9d468022b930d52da4d9b0226ef9c997e0acc119eeb08afefb8219bc53972b",
        ),
        (
            "😀".repeat(128),
            "0fcfc97a1b96eb4d9d49b0189dc00a5dbbe3f0ad4f8533c6069611374d5e6bca",
        ),
        (
            "x".repeat(254) + "😀",
            "9feb24c9c9170eb9309cac5457ead80f99e511040c2e58f0286424c851e923a3",
        ),
    ] {
        is_called(&scene, &pool, &long, hash).await?;
    }
    Ok(())
}

#[tokio::test]
async fn names_that_differ_in_anything_are_different_locks() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let names = [
        "key",
        "Key",
        "KEY",
        "key ",
        "key  ",
        " key",
        "kéy",
        "ke\u{301}y",
        "key\n",
        "'key'",
        "[key]",
    ];
    let mut guards = Vec::new();
    for name in names {
        let guard = pool.dlock(name).try_acquire().await?;
        guards.push(guard.unwrap_or_else(|| panic!("{name:?} is another")));
    }
    let entries = scene.locks().entries();
    let mut seen: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut names = names.to_vec();
    seen.sort_unstable();
    names.sort_unstable();
    assert_eq!(seen, names);
    let theirs = scene.pool("theirs");
    for name in names {
        assert!(
            theirs.dlock(name).try_acquire().await?.is_none(),
            "{name:?}"
        );
    }
    drop(guards);
    scene.is_left_clean().await
}

#[tokio::test]
async fn an_integer_is_its_decimal_text_bytes_are_text_and_what_has_a_nul_is_hashed() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    for int in [0, -1, i64::MIN, i64::MAX] {
        is_called(&scene, &pool, int, &int.to_string()).await?;
    }
    is_called(&scene, &pool, "grüße".as_bytes(), "grüße").await?;
    is_called(&scene, &pool, "user/\0", &hash("user/\0")).await?;
    let guard = pool.dlock(42).await?;
    assert!(
        scene
            .pool("theirs")
            .dlock("42")
            .try_acquire()
            .await?
            .is_none()
    );
    Ok(guard.release().await?)
}

#[tokio::test]
async fn what_is_no_name_is_refused_without_a_connection() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    for bytes in [&b"\xff\xfe\xfd"[..], b"a\xc3", b""] {
        let refused = pool.dlock(bytes).await;
        assert!(
            matches!(refused, Err(Error::InvalidKey { .. })),
            "{refused:?}"
        );
    }
    let refused = pool.dlock("").try_acquire().await;
    assert!(
        matches!(refused, Err(Error::InvalidKey { .. })),
        "{refused:?}"
    );
    let refused = pool.dlock((7, 42)).await;
    let Err(Error::Unsupported {
        backend, feature, ..
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(backend, "SQL Server");
    assert!(feature.contains("pair"), "{feature}");
    assert_eq!(scene.sessions("ours"), []);
    Ok(())
}

#[tokio::test]
async fn a_namespace_is_in_front_of_the_name_and_counts_for_its_length() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.builder("ours").namespace("billing").build();
    is_called(&scene, &pool, 42, "billing:42").await?;
    let (whole, long) = ("x".repeat(247), "x".repeat(248));
    is_called(&scene, &pool, &whole, &format!("billing:{whole}")).await?;
    is_called(&scene, &pool, &long, &hash(&format!("billing:{long}"))).await
}

/// Two departures: what is longer than 255 UTF-16 units is hashed, where Python raises, or counts characters and lets the server cut; and the empty key is nobody's.
#[tokio::test]
async fn every_key_of_sqlalchemy_dlock_is_the_same_lock_here() -> Outcome {
    let vectors: Value = serde_json::from_str(VECTORS)?;
    let rows = vectors["vectors"].as_array().into_iter().flatten();
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let (mut same, mut hashed, mut none) = (0, 0, 0);
    for row in rows.filter(|row| row["database"] == "mssql") {
        let text = |place: &str| {
            row.pointer(place)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let value = text("/input/value");
        let key = match text("/input/type") {
            "str" => Some(value.into()),
            "bytes" => Some(hex(value)?.into()),
            // In Rust a number that is larger is no `Key` at all.
            "int" => value.parse::<i64>().ok().map(Key::from),
            // Neither are these: what they are in Python is not told by a vector in Rust.
            _ => None,
        };
        let Some(key) = key else {
            none += 1;
            continue;
        };
        let error = text("/error");
        if value.is_empty() || error.contains("Unicode") {
            let refused = pool.dlock(key).await;
            assert!(matches!(refused, Err(Error::InvalidKey { .. })), "{row}");
            none += 1;
        } else if error.is_empty() && text("/key/value").encode_utf16().count() <= 255 {
            is_called(&scene, &pool, key, text("/key/value")).await?;
            same += 1;
        } else {
            let name = match text("/input/type") {
                "bytes" => hash(&String::from_utf8(hex(value)?)?),
                _ => hash(value),
            };
            is_called(&scene, &pool, key, &name).await?;
            hashed += 1;
        }
    }
    // No key: the empty text, five numbers of more than 64 bits, and what is not UTF-8.
    assert_eq!((same, hashed, none), (33, 3, 7));
    Ok(())
}

fn hex(text: &str) -> Outcome<Vec<u8>> {
    let digit = |at: usize| text.get(at..at + 2).ok_or_else(|| Failure::new(text));
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| Ok(u8::from_str_radix(digit(at)?, 16)?))
        .collect()
}
