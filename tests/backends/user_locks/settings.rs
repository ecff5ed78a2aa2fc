//! What a lock session sets for itself, whatever the application and its hooks say.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use tokio::time::sleep;

use super::options::{options, with_hook};
use super::proxy::Proxy;
use super::{Scene, Server, UserLocks};
use crate::suite::{Backend, Outcome, PATIENCE, soon, waiting};

/// The proxy makes the session itself say what it has: another cannot see it everywhere.
async fn told<S: Server>(scene: &Scene<S>, keepalive: Duration, asked: &str) -> Outcome<String> {
    let application = scene.application("asked");
    let proxy = Proxy::start(&scene.url("asked")).await?;
    let (limit, tenth) = S::STATEMENT_LIMIT;
    let hook = format!(
        "SET SESSION wait_timeout = 1, autocommit = 0, {limit} = {tenth}; SET NAMES latin1"
    );
    let db = proxy.db_with(with_hook(hook));
    let locks = LockPool::builder(&db).keepalive(keepalive).build();
    locks.dlock(scene.key()).await?.release().await?;
    proxy
        .say(&format!("SET @told = CONCAT_WS(' ', {asked})"))
        .await;
    let mut raw = scene.raw().await?;
    let told = raw.variable(&application, "told").await?;
    locks.close().await;
    scene.until_sessions("asked", 0).await?;
    Ok(told)
}

pub(crate) async fn a_lock_session_has_settings_of_its_own<S: Server>(scene: &Scene<S>) -> Outcome {
    let (limit, _) = S::STATEMENT_LIMIT;
    let asked = format!("@@wait_timeout, @@autocommit = 1, @@{limit} = 0, @@character_set_client");
    let day = Duration::from_secs(24 * 60 * 60);
    for (keepalive, silence) in [
        (Duration::from_secs(15), "600"),
        (Duration::from_secs(60), "2400"),
        (Duration::from_secs(1), "60"),
        (day, "86400"),
        (Duration::MAX, "86400"),
    ] {
        let told = told(scene, keepalive, &asked).await?;
        assert_eq!(told, format!("{silence} 1 1 utf8mb4"), "{keepalive:?}");
    }
    Ok(())
}

pub(crate) async fn a_lock_session_prepares_its_statements_once_whatever_the_application_caches<
    S: Server,
>(
    scene: &Scene<S>,
) -> Outcome {
    for capacity in [0, 1] {
        let url = format!("{}?statement-cache-capacity={capacity}", scene.url("ours"));
        let proxy = Proxy::start(&url).await?;
        let db = proxy.db();
        let locks = LockPool::of(&db);
        let (quiet, busy) = (scene.key(), scene.key());
        for _ in 0..20 {
            locks.dlock(quiet).await?.release().await?;
            locks.dlock(busy).await?.release().await?;
        }
        let prepared = proxy.preparations();
        assert!((1..10).contains(&prepared), "{prepared} with {capacity}");
        locks.close().await;
        scene.until_sessions("ours", 0).await?;
    }
    Ok(())
}

pub(crate) async fn names_are_in_one_character_set_whatever_the_application_speaks<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let latin = format!("{}?charset=latin1", scene.url("latin"));
    let latin = dlock_tests::connect(&latin, 1).await;
    let plain = scene.db("plain").await;
    let name = format!("{} café", scene.name);
    for (ours, theirs) in [(&latin, &plain), (&plain, &latin)] {
        let guard = ours.dlock(&name).await?;
        assert!(theirs.dlock(&name).try_acquire().await?.is_none());
        let listed = LockPool::of(theirs).locks().await?;
        let listed = listed
            .iter()
            .filter(|lock| lock.key == *guard.physical_key());
        assert_eq!(listed.count(), 1);
        guard.release().await?;
    }
    Ok(())
}

pub(crate) async fn an_application_with_a_mode_of_its_own_locks_as_well<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let hook = "SET SESSION sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'; \
         SET SESSION TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE";
    let hooked = with_hook(hook.to_owned()).connect_lazy_with(options(&scene.url("ours"))?);
    let theirs = scene.db("theirs").await;
    let key = scene.key();
    let held = theirs.dlock(key).await?;
    let waiter = tokio::spawn({
        let hooked = hooked.clone();
        async move { hooked.dlock(key).timeout(PATIENCE).await }
    });
    let mut raw = scene.raw().await?;
    let application = scene.application("ours");
    raw.until_waiting(&application, 1).await?;
    held.release().await?;
    let guard = soon("the lock", waiter).await???;
    let listed = LockPool::of(&hooked).locks().await?;
    assert!(listed.iter().any(|lock| lock.key == *guard.physical_key()));
    Ok(guard.release().await?)
}

/// In which sqlx could not read a word, or would take text for bytes.
pub(crate) async fn characters_that_a_hook_chose_are_in_nobodys_way<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let theirs = scene.db("theirs").await;
    for hook in ["SET character_set_results = utf16", "SET NAMES binary"] {
        let ours = with_hook(hook).connect_lazy_with(options(&scene.url("ours"))?);
        let text = format!("{} café", scene.name);
        let guard = ours.dlock(&text).await?;
        assert_eq!(guard.physical_key().to_string(), text);
        assert!(theirs.dlock(&text).try_acquire().await?.is_none());
        for pool in [LockPool::of(&ours), LockPool::of(&theirs)] {
            let listed = pool.locks().await?;
            let mut listed = listed
                .iter()
                .filter(|lock| lock.key == *guard.physical_key());
            let holder = listed.next().map(|lock| &*lock.holder.application);
            assert_eq!(
                holder,
                Some(&*UserLocks::<S>::holder(&scene.application("ours")))
            );
        }
        // A wait on the server, which both speak of in words.
        let waiter = tokio::spawn({
            let (theirs, text) = (theirs.clone(), text.clone());
            async move { theirs.dlock(text).timeout(PATIENCE).await }
        });
        waiting(&theirs, 1).await?;
        guard.release().await?;
        let held = soon("the lock", waiter).await???;
        let limit = Duration::from_millis(50);
        let late = ours.dlock(&text).timeout(limit).await;
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        held.release().await?;
        // Longer than until the next sign of life.
        let guard = ours.dlock(&text).await?;
        sleep(Duration::from_millis(700)).await;
        assert!(guard.is_held());
        guard.release().await?;
        assert_eq!(LockPool::of(&ours).status().counters.sessions_lost, 0);
    }
    Ok(())
}
