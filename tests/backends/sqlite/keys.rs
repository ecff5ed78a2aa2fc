//! Keys: what SQLite's locks are known by.

use std::fs;

use dlock::{DLockExt, Error, Key, LockPool, PhysicalKey};
use sea_orm::prelude::Uuid;

use super::database::Scratch;
use crate::suite::Outcome;

async fn are_one_lock(a: impl Into<Key>, b: impl Into<Key>) -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let (a, b) = (a.into(), b.into());
    let guard = ours.dlock(&a).await?;
    assert!(theirs.dlock(&b).try_acquire().await?.is_none(), "{b}");
    assert!(ours.dlock(&b).try_acquire().await?.is_none(), "{b}");
    let physical = guard.physical_key().clone();
    guard.release().await?;
    let guard = theirs.dlock(&b).await?;
    assert_eq!(*guard.physical_key(), physical);
    Ok(guard.release().await?)
}

#[tokio::test]
async fn text_and_bytes_with_one_content_are_one_lock() -> Outcome {
    are_one_lock("Grüße", "Grüße".as_bytes()).await
}

#[tokio::test]
async fn an_integer_and_its_decimal_text_are_one_lock() -> Outcome {
    for int in [0, -1, i64::MIN, i64::MAX] {
        are_one_lock(int, int.to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_uuid_is_its_hyphenated_lower_case_text() -> Outcome {
    let text = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let uuid: Uuid = text.to_uppercase().parse()?;
    are_one_lock(uuid, text).await
}

#[tokio::test]
async fn a_namespace_is_a_prefix_of_the_text() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let inside = LockPool::builder(&db).namespace("billing").build();
    for (key, text) in [
        (Key::from("invoice"), "billing:invoice"),
        (Key::from(42_i64), "billing:42"),
        (Key::from(&b"bytes"[..]), "billing:bytes"),
    ] {
        let guard = inside.dlock(&key).await?;
        assert_eq!(*guard.physical_key(), PhysicalKey::Name(text.into()));
        assert_eq!(fs::read_to_string(scratch.lock_file(text))?, text);
        assert!(db.dlock(text).try_acquire().await?.is_none());
        // Without the namespace it is another lock.
        assert!(db.dlock(&key).try_acquire().await?.is_some());
        guard.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_text_is_a_key_and_none_leaves_the_directory() -> Outcome {
    let scratch = Scratch::create().await;
    let (ours, theirs) = (scratch.db().await, scratch.db().await);
    let long = "lang".repeat(1 << 18);
    let texts = [
        "with\0NUL",
        "\0",
        "../../../etc/passwd",
        "/absolute/path",
        "..",
        ".",
        "line\nbreaks\r\n\n",
        " ",
        "🔒👩‍👩‍👧‍👦",
        "e\u{301}",
        "é",
        "%2e%2e",
        &long,
    ];
    let mut guards = Vec::new();
    for text in texts {
        let guard = ours.dlock(text).try_acquire().await?;
        let guard = guard.unwrap_or_else(|| panic!("{text:.20} is a lock of its own"));
        assert_eq!(*guard.physical_key(), PhysicalKey::Name(text.into()));
        assert_eq!(fs::read_to_string(scratch.lock_file(text))?, text);
        assert!(
            theirs.dlock(text).try_acquire().await?.is_none(),
            "{text:.20}"
        );
        guards.push(guard);
    }
    assert_eq!(scratch.files().len(), texts.len());
    let listed = LockPool::of(&theirs).locks().await?;
    for guard in &guards {
        let ours = listed
            .iter()
            .filter(|lock| lock.key == *guard.physical_key());
        assert_eq!(ours.count(), 1, "{:.20}", guard.physical_key().to_string());
    }
    for guard in guards {
        guard.release().await?;
    }
    assert!(scratch.files().is_empty());
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_not_text_are_no_key() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    for refused in [
        db.dlock(&b"\xff\x00b"[..]).await.map(drop),
        db.dlock(&b"\xff\x00b"[..]).try_acquire().await.map(drop),
    ] {
        let Err(Error::InvalidKey { key, reason }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(key, "0xff0062");
        assert!(reason.contains("UTF-8"), "{reason}");
    }
    assert!(!scratch.locks().exists());
    Ok(())
}

#[tokio::test]
async fn the_empty_key_is_invalid_in_every_form() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let namespaced = LockPool::builder(&db).namespace("billing").build();
    let empty: [Key; 3] = ["".into(), String::new().into(), Vec::new().into()];
    for key in empty {
        for refused in [
            db.dlock(&key).await.map(drop),
            db.dlock(&key).shared().try_acquire().await.map(drop),
            namespaced.dlock(&key).await.map(drop),
        ] {
            let Err(Error::InvalidKey { key, reason }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(key, "");
            assert!(reason.contains("empty"), "{reason}");
        }
    }
    assert!(!scratch.locks().exists());
    Ok(())
}

#[tokio::test]
async fn a_pair_is_unsupported() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let refused = db.dlock((1, 2)).await;
    let Err(Error::Unsupported { backend, hint, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(backend, "SQLite");
    assert!(hint.contains("text"), "{hint}");
    assert!(!scratch.locks().exists());
    Ok(())
}
