//! What a lock session sets for itself, whatever the application and its hooks say.

use std::time::Duration;

use dlock::{DLockExt, LockPool};

use super::proxy::Proxy;
use super::witness::{Witness, options, with_hook};
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, soon};

/// The proxy makes the session itself say what it has: another cannot see it everywhere.
async fn told<S: Server>(scene: &Scene<S>, keepalive: Duration, asked: &str) -> Outcome<String> {
    let application = scene.application("asked");
    let proxy = Proxy::start(&scene.url("asked")).await?;
    let (limit, tenth) = S::STATEMENT_LIMIT;
    let hook = format!(
        "SET SESSION wait_timeout = 1, autocommit = 0, {limit} = {tenth}; SET NAMES latin1"
    );
    let db = proxy.db(with_hook(hook));
    let locks = LockPool::builder(&db).keepalive(keepalive).build();
    locks.dlock(scene.key()).await?.release().await?;
    proxy
        .say(&format!("SET @told = CONCAT_WS(' ', {asked})"))
        .await;
    let mut witness = Witness::of::<S>().await?;
    let told = witness.variable(&application, "told").await?;
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
    let mut witness = Witness::of::<S>().await?;
    let application = scene.application("ours");
    witness.until_waiting(&application, 1).await?;
    held.release().await?;
    let guard = soon("the lock", waiter).await???;
    let listed = LockPool::of(&hooked).locks().await?;
    assert!(listed.iter().any(|lock| lock.key == *guard.physical_key()));
    Ok(guard.release().await?)
}
