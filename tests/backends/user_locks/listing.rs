//! `LockPool::locks()`: who holds what and who waits, as the server knows it.

use std::fmt::Display;

use dlock::{DLockExt, LockPool, Mode, PhysicalKey, ServerLock};
use dlock_tests::Way;

use super::options::name;
use super::raw::Raw;
use super::{Scene, Server, UserLocks};
use crate::suite::{Backend, Failure, Outcome, PATIENCE};

/// The one in this state.
pub(super) fn only(locks: &[ServerLock], key: impl Display, granted: bool) -> Outcome<&ServerLock> {
    let text = key.to_string();
    let is_it = |lock: &&ServerLock| lock.key.to_string() == text && lock.granted == granted;
    let mut found = locks.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(lock), None) => Ok(lock),
        _ => Err(Failure::new(format!("{key} {granted} in {locks:?}"))),
    }
}

async fn listed<S: Server>(scene: &Scene<S>, key: &str, granted: bool) -> Outcome<ServerLock> {
    let db = scene.db_of("ours", 1).await;
    let locks = LockPool::of(&db).locks().await?;
    only(&locks, key, granted).cloned()
}

pub(crate) async fn a_holder_is_listed_with_session_account_program_and_process<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (account, text) = (scene.application("ours"), name());
    let (db, mut peer) = (scene.db_of("ours", 1).await, scene.peer("peer").await?);
    let mut raw = scene.raw().await?;
    let guard = db.dlock(&text).await?;
    let locks = LockPool::of(&db).locks().await?;
    let lock = only(&locks, guard.physical_key(), true)?;
    assert_eq!(lock.name, Some(text.as_str().into()));
    assert_eq!(lock.mode, Mode::Exclusive);
    assert_eq!(Some(lock.holder.session), raw.holder(&text).await?);
    assert_eq!(lock.holder.application, UserLocks::<S>::holder(&account));
    let session = lock.holder.session;
    raw.until(&format!(
        "(SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {session} AND USER = '{account}') = 1"
    ))
    .await?;
    // Another process sees the same, but for the name that it does not know.
    let theirs = listed(scene, &text, true).await?;
    assert_eq!(theirs.name, None);
    assert_eq!(theirs.holder, lock.holder);
    guard.release().await?;
    // And what it calls itself.
    let key = scene.key();
    peer.hold(key, Way::PLAIN).await?;
    let theirs = listed(scene, &key.to_string(), true).await?;
    let (application, process) = (scene.application("peer"), peer.id()?);
    let holder = format!("{application}@127.0.0.1 dlock dlock-peer[{process}]");
    assert_eq!(theirs.holder.application, holder);
    peer.release(key).await
}

pub(crate) async fn waiters_of_another_pool_are_listed_as_not_granted<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (account, text) = (scene.application("theirs"), name());
    let (ours, theirs) = (scene.db_of("ours", 1).await, scene.db_of("theirs", 1).await);
    let mut raw = scene.raw().await?;
    let guard = ours.dlock(&text).await?;
    let waiter = tokio::spawn({
        let text = text.clone();
        async move { theirs.dlock(text).timeout(PATIENCE).await }
    });
    raw.until_wanted(&text, 1).await?;
    let mut locks = Vec::new();
    // Between two slices it does not wait for a moment.
    for _ in 0..20 {
        locks = LockPool::of(&ours).locks().await?;
        if only(&locks, guard.physical_key(), false).is_ok() {
            break;
        }
    }
    let holder = only(&locks, guard.physical_key(), true)?;
    let wanting = only(&locks, guard.physical_key(), false)?;
    assert_eq!(wanting.holder.application, UserLocks::<S>::holder(&account));
    assert_ne!(wanting.holder.session, holder.holder.session);
    assert_eq!(wanting.name, Some(text.as_str().into()));
    guard.release().await?;
    Ok(waiter.await??.release().await?)
}

pub(crate) async fn a_lock_of_a_plain_connection_is_listed_with_its_account<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (account, text) = (scene.application("plain"), name());
    let mut raw = Raw::at(&scene.url("plain")).await?;
    raw.lock(&text).await?;
    let lock = listed(scene, &text, true).await?;
    assert_eq!(lock.holder.session, raw.id().await?);
    assert_eq!(lock.holder.application, format!("{account}@127.0.0.1"));
    assert_eq!(lock.name, None);
    raw.unlock(&text).await
}

/// Whatever the server makes of a name in its listing, here it is called as it was asked for.
async fn is_found_under_its_own_name<S: Server>(scene: &Scene<S>, text: &str) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let guard = db.dlock(text).timeout(PATIENCE).await?;
    let locks = LockPool::of(&db).locks().await?;
    let lock = only(&locks, guard.physical_key(), true)?;
    assert_eq!(lock.name, Some(text.into()));
    let physical = guard.physical_key().to_string();
    assert_eq!(Some(lock.holder.session), raw.holder(&physical).await?);
    Ok(guard.release().await?)
}

pub(crate) async fn a_key_with_capitals_is_listed_under_its_own_name<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    for text in ["Key", "ÉCLAIR", "КЛЮЧ"] {
        is_found_under_its_own_name(scene, &format!("{text}{}", name())).await?;
    }
    Ok(())
}

/// The server's small letters are not those of Rust: `to_lowercase` makes `ας` of the first, two characters of the second.
pub(crate) async fn capitals_that_rust_folds_otherwise_are_listed_as_well<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    for text in ["ΑΣ", "İ"] {
        is_found_under_its_own_name(scene, &format!("{}{text}", name())).await?;
    }
    Ok(())
}

/// The listing of MariaDB has room for 64 characters, and none of them is more than three bytes.
pub(crate) async fn a_name_that_the_listing_cannot_hold_is_listed_as_well<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    for text in ["x".repeat(65), "é".repeat(70), "😀".to_owned()] {
        is_found_under_its_own_name(scene, &format!("{}{text}", name())).await?;
    }
    Ok(())
}

/// What is held under a name of 64 characters is not what a longer one begins with.
pub(crate) async fn a_long_name_is_not_taken_for_its_beginning<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut raw = scene.raw().await?;
    let beginning = format!("{}{}", name(), "x".repeat(47));
    let long = format!("{beginning}y");
    assert_eq!(beginning.len(), 64);
    let guard = db.dlock(&long).await?;
    assert!(raw.can_lock(&beginning).await?);
    let locks = LockPool::of(&db).locks().await?;
    let wrong = PhysicalKey::Name(beginning.into());
    assert!(!locks.iter().any(|lock| lock.key == wrong), "{locks:?}");
    Ok(guard.release().await?)
}

pub(crate) async fn nothing_is_listed_where_nothing_is_locked<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let (free, gone) = (name(), name());
    db.dlock(&gone).await?.release().await?;
    let locks = LockPool::of(&db).locks().await?;
    for text in [free, gone] {
        let key = PhysicalKey::Name(text.into());
        assert!(!locks.iter().any(|lock| lock.key == key), "{locks:?}");
    }
    Ok(())
}

/// Others may write what they like where dlock looks: it is shown as far as it is text, and costs nobody a session.
pub(crate) async fn a_listing_survives_what_strangers_write<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut stranger = scene.raw().await?;
    let (ours, theirs) = (name(), name());
    let guard = db.dlock(&ours).await?;
    stranger.lock(&theirs).await?;
    let long = "REPEAT('x', 100000)";
    for odd in [
        "X'FFFE'",
        "42",
        "NULL",
        "1.5e0",
        "'a\\0b'",
        "_latin1 X'E9'",
        long,
    ] {
        stranger.run(&format!("SET @dlock = {odd}")).await?;
        let locks = LockPool::of(&db).locks().await;
        assert!(guard.is_held(), "{odd}: {locks:?}");
        only(&locks?, &theirs, true)?;
    }
    assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 0);
    guard.release().await?;
    stranger.unlock(&theirs).await
}

/// Names that are no text on MariaDB, where a name is bytes.
pub(crate) async fn a_listing_survives_names_that_are_no_text<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let mut stranger = scene.raw().await?;
    let guard = db.dlock(name()).await?;
    let odd = format!("CONCAT(X'FFFE', '{}')", name());
    let got = stranger.row(&format!("SELECT GET_LOCK({odd}, 0)")).await;
    assert_eq!(got.is_ok(), !S::FOLDS_CASE);
    let locks = LockPool::of(&db).locks().await;
    assert!(guard.is_held(), "{locks:?}");
    only(&locks?, guard.physical_key(), true)?;
    Ok(guard.release().await?)
}
