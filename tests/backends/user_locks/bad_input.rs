//! What cannot work says why, promptly, and holds nothing.

use std::time::Duration;

use dlock::{DLockExt, Error, Key, LockPool};
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::options::name;
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, elapsed, soon};

/// Long enough for a slow machine, too short for a connection that is tried for.
const PROMPT: Duration = Duration::from_secs(5);

pub(crate) async fn the_empty_key_is_invalid_in_every_form<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let namespaced = LockPool::builder(&db).namespace("billing").build();
    let txn = db.begin().await?;
    let empty: [Key; 3] = ["".into(), String::new().into(), Vec::new().into()];
    for key in empty {
        for result in [
            db.dlock(&key).await.map(drop),
            db.dlock(&key).try_acquire().await.map(drop),
            namespaced.dlock(&key).await.map(drop),
        ] {
            let Err(Error::InvalidKey { key, reason }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(key, "");
            assert!(reason.contains("empty"), "{reason}");
        }
        assert!(txn.dlock(&key).xact().await.is_err());
    }
    txn.commit().await?;
    assert_eq!(LockPool::of(&db).status().counters.sessions_opened, 0);
    Ok(())
}

pub(crate) async fn bytes_that_are_no_text_are_an_invalid_key<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let namespaced = LockPool::builder(&db).namespace("billing").build();
    for bytes in [
        &b"\x00\xff"[..],
        b"\xff\xfe\xfd",
        b"caf\xe9",
        b"\xed\xa0\x80",
    ] {
        for pool in [&LockPool::of(&db), &namespaced] {
            let result = pool.dlock(bytes).await;
            let Err(Error::InvalidKey { key, reason }) = result else {
                panic!("{result:?}");
            };
            assert!(key.starts_with("0x"), "{key}");
            assert!(reason.contains("UTF-8"), "{reason}");
        }
    }
    assert_eq!(LockPool::of(&db).status().counters.sessions_opened, 0);
    Ok(())
}

/// The hint, when this can never work; no session was opened to find out, unless one was there.
async fn hint<T: std::fmt::Debug>(
    result: impl Future<Output = Result<T, Error>>,
) -> Outcome<String> {
    let (result, took) = elapsed(result).await;
    assert!(took < PROMPT, "{took:?}");
    let Err(Error::Unsupported {
        backend,
        feature,
        hint,
    }) = result
    else {
        panic!("{result:?}");
    };
    Ok(format!("{backend}/{feature}/{hint}"))
}

pub(crate) async fn a_pair_is_unsupported<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let said = hint(db.dlock((1, 2)).into_future()).await?;
    assert!(
        said.contains("MySQL/MariaDB") && said.contains("as text"),
        "{said}"
    );
    assert_eq!(LockPool::of(&db).status().counters.sessions_opened, 0);
    let guard = db.dlock(name()).await?;
    let said = hint(db.dlock((1, 2)).try_acquire()).await?;
    assert!(said.starts_with(&format!("{}/", S::NAME)), "{said}");
    Ok(guard.release().await?)
}

pub(crate) async fn a_shared_lock_is_unsupported<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let text = name();
    for said in [
        hint(db.dlock(&text).shared().into_future()).await?,
        hint(db.dlock(&text).shared().try_acquire()).await?,
        hint(db.dlock(&text).shared().timeout(PATIENCE).into_future()).await?,
        // Also where the name is not known without the server.
        hint(db.dlock("😀").shared().into_future()).await?,
        hint(db.dlock(&text).shared().run(async |_| Ok::<_, Error>(()))).await?,
    ] {
        assert!(
            said.contains("shared") && said.contains(".shared()"),
            "{said}"
        );
    }
    let status = LockPool::of(&db).status();
    assert_eq!((status.counters.sessions_opened, status.keys), (0, 0));
    assert!(scene.raw().await?.can_lock(&text).await?);

    let guard = db.dlock(&text).await?;
    let said = hint(db.dlock(&text).shared().into_future()).await?;
    assert!(said.starts_with(&format!("{}/", S::NAME)), "{said}");
    Ok(guard.release().await?)
}

pub(crate) async fn a_transaction_lock_is_unsupported_and_names_the_way<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let txn = db.begin().await?;
    let text = name();
    for said in [
        hint(txn.dlock(&text).xact().into_future()).await?,
        hint(txn.dlock(&text).xact().try_acquire()).await?,
        hint(txn.dlock(&text).shared().xact().into_future()).await?,
        hint(txn.dlock(&text).xact().timeout(PATIENCE).into_future()).await?,
    ] {
        assert!(said.contains("db.dlock(key).transaction(..)"), "{said}");
    }
    // The transaction is none the worse, and nothing is held.
    txn.execute_unprepared("SELECT 1").await?;
    txn.commit().await?;
    assert!(scene.raw().await?.can_lock(&text).await?);
    assert_eq!(LockPool::of(&db).status().counters.sessions_opened, 0);
    Ok(())
}

pub(crate) async fn extreme_timeouts_are_a_try_and_forever<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let text = name();
    let longest = [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(1 << 33),
    ];
    raw.lock(&text).await?;
    for none in [Duration::ZERO, Duration::from_nanos(1)] {
        let (late, took) = elapsed(db.dlock(&text).timeout(none).into_future()).await;
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        assert!(took < PROMPT, "{took:?}");
        let tried = db.dlock(&text).timeout(none).try_acquire().await;
        assert!(!matches!(tried, Ok(Some(_))), "{tried:?}");
    }
    for long in longest {
        let waiter = tokio::spawn({
            let (db, text) = (db.clone(), text.clone());
            async move { db.dlock(text).timeout(long).await }
        });
        raw.until_wanted(&text, 1).await?;
        raw.unlock(&text).await?;
        let guard = soon("the lock", waiter).await???;
        guard.release().await?;
        raw.lock(&text).await?;
    }
    raw.unlock(&text).await?;
    let pool = LockPool::builder(&db).default_timeout(Duration::MAX);
    let pool = pool
        .idle_timeout(Duration::MAX)
        .keepalive(Duration::MAX)
        .build();
    Ok(pool.dlock(&text).await?.release().await?)
}

pub(crate) async fn a_setting_that_cannot_work_is_named_on_first_use<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let builder = || LockPool::builder(&db);
    let short = Duration::from_millis(99);
    for (builder, named) in [
        (builder().max_sessions(0), "max_sessions(0)"),
        (builder().max_pinned_sessions(0), "max_pinned_sessions(0)"),
        (
            builder().max_locks_per_session(0),
            "max_locks_per_session(0)",
        ),
        (builder().keepalive(short), "keepalive"),
        (builder().namespace(""), "namespace"),
    ] {
        let result = builder.build().dlock(name()).await;
        let Err(Error::InvalidSetting { setting, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(setting.contains(named), "{setting}");
    }
    Ok(())
}
