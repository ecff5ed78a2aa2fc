//! `pool.locks()`: what the server lists, and what it does not let be listed.

use dlock::{DLockExt, Key, LockPool, Mode, PhysicalKey, ServerLock};
use dlock_tds::{Close, Part, Reply, ServerError};

use super::{Of, Scene, row};
use crate::suite::{Outcome, soon, waiting};

/// The lock of this name as one application has it, or wants it.
fn of<'a>(locks: &'a [ServerLock], name: &str, application: &str) -> &'a ServerLock {
    let key = PhysicalKey::Name(name.into());
    let mut found = locks
        .iter()
        .filter(|lock| lock.key == key && lock.holder.application == application);
    match (found.next(), found.next()) {
        (Some(lock), None) => lock,
        _ => panic!("{name} of {application}: {locks:?}"),
    }
}

fn name(text: &str) -> Option<Key> {
    Some(text.into())
}

#[tokio::test]
async fn everybodys_locks_are_listed_with_who_has_them_and_how() -> Outcome {
    let scene = Scene::open().await?;
    let (pool, theirs) = (scene.pool("ours"), scene.pool("theirs"));
    assert_eq!(pool.locks().await?, []);
    let ours = pool.dlock("ours alone").await?;
    let update = pool.dlock("both").update().await?;
    let reader = theirs.dlock("both").shared().await?;
    let alone = theirs.dlock("theirs ]:( alone").await?;
    let waiter = pool.clone();
    let waiter = tokio::spawn(async move { waiter.dlock("theirs ]:( alone").await });
    scene.until_waiting("theirs ]:( alone", 1).await?;

    let locks = soon("the list", pool.locks()).await??;
    assert_eq!(locks.len(), 5);
    for (key, application, mode, granted) in [
        ("ours alone", "ours", Mode::Exclusive, true),
        ("both", "ours", Mode::Update, true),
        ("both", "theirs", Mode::Shared, true),
        ("theirs ]:( alone", "theirs", Mode::Exclusive, true),
        ("theirs ]:( alone", "ours", Mode::Exclusive, false),
    ] {
        let lock = of(&locks, key, application);
        assert_eq!((lock.mode, lock.granted), (mode, granted), "{lock:?}");
        assert_eq!(lock.name, name(key));
        let entries = scene.locks().entries();
        let sessions = scene.sessions(application);
        assert!(entries.iter().any(|entry| {
            entry.name == key
                && i64::from(entry.session.0) == lock.holder.session
                && sessions.contains(&entry.session)
        }));
    }
    // Another knows those keys only that it has or wants.
    let locks = scene.pool("a third").locks().await?;
    assert!(locks.iter().all(|lock| lock.name.is_none()), "{locks:?}");
    assert_eq!(locks.len(), 5);

    alone.release().await?;
    soon("the lock", waiter).await???.release().await?;
    for guard in [ours, update, reader] {
        guard.release().await?;
    }
    assert_eq!(pool.locks().await?, []);
    Ok(())
}

#[tokio::test]
async fn a_long_name_is_shown_cut_unless_it_is_known_here() -> Outcome {
    let scene = Scene::open().await?;
    let (pool, theirs) = (scene.pool("ours"), scene.pool("theirs"));
    let (known, unknown) = ("k".repeat(33), "u".repeat(33));
    let whole = "w".repeat(32);
    // Sixteen of them are shown.
    let astral = "😀".repeat(20);
    let guards = [
        pool.dlock(&known).await?,
        pool.dlock(&astral).await?,
        theirs.dlock(&unknown).await?,
        theirs.dlock(&whole).await?,
    ];
    let locks = pool.locks().await?;
    assert_eq!(locks.len(), 4);
    assert_eq!(of(&locks, &known, "ours").name, name(&known));
    assert_eq!(of(&locks, &astral, "ours").name, name(&astral));
    assert_eq!(of(&locks, &"u".repeat(32), "theirs").name, None);
    assert_eq!(of(&locks, &whole, "theirs").name, None);
    drop(guards);
    scene.is_left_clean().await
}

#[tokio::test]
async fn a_name_that_another_begins_with_is_itself() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let ours = pool.dlock("invoice/42").await?;
    let theirs = scene.pool("theirs").dlock("invoice").await?;
    let locks = pool.locks().await?;
    assert_eq!(of(&locks, "invoice", "theirs").name, None);
    assert_eq!(of(&locks, "invoice/42", "ours").name, name("invoice/42"));
    drop((ours, theirs));
    scene.is_left_clean().await
}

#[tokio::test]
async fn of_two_names_that_are_shown_alike_neither_is_guessed() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let front = "f".repeat(32);
    let (one, two) = (front.clone() + "1", front.clone() + "2");
    let guards = [pool.dlock(&one).await?, pool.dlock(&two).await?];
    let locks = pool.locks().await?;
    let keys: Vec<String> = locks.iter().map(|lock| lock.key.to_string()).collect();
    assert_eq!(keys, [front.clone(), front]);
    assert!(locks.iter().all(|lock| lock.name.is_none()));
    drop(guards);
    Ok(())
}

/// It holds the lock as before, and is not seen to.
#[tokio::test]
async fn an_upgrade_that_waits_is_listed() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let reader = scene.pool("theirs").dlock("k").shared().await?;
    let mut guard = pool.dlock("k").update().await?;
    let upgraded = tokio::spawn(async move { guard.upgrade().await.map(|()| guard) });
    scene.until_waiting("k", 1).await?;
    let locks = scene.pool("a third").locks().await?;
    assert!(of(&locks, "k", "ours").granted);
    assert_eq!(of(&locks, "k", "theirs").mode, Mode::Shared);
    reader.release().await?;
    let guard = soon("the upgrade", upgraded).await???;
    let locks = pool.locks().await?;
    assert_eq!(of(&locks, "k", "ours").mode, Mode::Exclusive);
    Ok(guard.release().await?)
}

/// Who may not list them asks about those that are known here: by whom they are held, the server does not say.
#[tokio::test]
async fn who_may_not_list_hears_of_the_keys_known_here_that_somebody_has() -> Outcome {
    let scene = Scene::open().await?;
    let (pool, theirs) = (scene.pool("ours"), scene.pool("theirs"));
    scene.locks().deny_view_server_state(true);
    assert_eq!(pool.locks().await?, []);
    let update = pool.dlock("update").update().await?;
    let shared = pool.dlock("shared").shared().await?;
    let guards = [
        theirs.dlock("wanted").await?,
        theirs.dlock("unknown").await?,
    ];
    let waiter = pool.clone();
    let waiter = tokio::spawn(async move { waiter.dlock("wanted").await });
    scene.until_waiting("wanted", 1).await?;

    let locks = soon("the list", pool.locks()).await??;
    assert_eq!(locks.len(), 3, "{locks:?}");
    for (key, application, mode) in [
        // The session that is asked knows its own locks only, and an update lock has a session of
        // its own.
        ("update", "", Mode::Exclusive),
        ("shared", "ours", Mode::Shared),
        ("wanted", "", Mode::Exclusive),
    ] {
        let lock = of(&locks, key, application);
        assert_eq!((lock.mode, lock.granted), (mode, true));
        assert_eq!(lock.name, name(key));
        let session = scene.holder(key).expect("it is held").session;
        let shown = if application.is_empty() {
            0
        } else {
            session.0.into()
        };
        assert_eq!(lock.holder.session, shown);
    }
    drop(guards);
    soon("the lock", waiter).await???.release().await?;
    update.release().await?;
    shared.release().await?;
    assert_eq!(pool.locks().await?, []);
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}

/// Somebody waits for it, because the server says that it is busy.
#[tokio::test]
async fn who_may_not_list_hears_of_no_key_that_nobody_has() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.builder("ours").max_sessions(1).build();
    scene.locks().deny_view_server_state(true);
    scene.say_times(usize::MAX, Of::Try, row(-1));
    let waiter = pool.clone();
    let waiter = tokio::spawn(async move { waiter.dlock("k").await });
    waiting(&pool, 1).await?;
    assert_eq!(pool.locks().await?, []);
    assert!(!waiter.is_finished());
    assert!(scene.asked(Of::Other) >= 2);
    waiter.abort();
    Ok(())
}

#[tokio::test]
async fn who_may_not_list_asks_about_many_keys_in_several_requests() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    scene.locks().deny_view_server_state(true);
    let keys = (0..300).map(|key: i64| pool.dlock(key).acquire());
    let guards = futures_util::future::join_all(keys).await;
    let locks = pool.locks().await?;
    assert_eq!(locks.len(), 300);
    // The list itself, and two about them.
    assert_eq!(scene.asked(Of::Other), 3);
    drop(guards);
    scene.is_left_clean().await
}

#[tokio::test]
async fn a_list_that_ends_the_session_is_an_error_and_a_loss() -> Outcome {
    let scene = Scene::open().await?;
    let pool: LockPool = scene.pool("ours");
    let guard = pool.dlock("k").await?;
    let error = Part::Error(ServerError::new(823, 24, "I/O error"));
    scene.say(Of::Other, Reply::ThenCut(vec![error], Close::Fin));
    let listed = soon("the answer", pool.locks()).await?;
    super::why(dlock::Phase::Inspect, listed);
    soon("the loss", guard.lost()).await?;
    scene.is_left_clean().await
}
