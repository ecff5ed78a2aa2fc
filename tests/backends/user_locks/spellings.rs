//! Two spellings of one name: the server decides whether they are one lock, also inside one pool, which knows them as two.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use tokio::task::JoinSet;

use super::options::name;
use super::{Scene, Server};
use crate::suite::{Outcome, PATIENCE, eventually, soon, waiting};

/// Pairs that MySQL takes for one name, MariaDB for two.
fn spellings() -> [(String, String); 5] {
    let id = name();
    [
        ("Key", "key"),
        ("É", "é"),
        ("КЛЮЧ", "ключ"),
        // Where the server's small letters are not those of Rust.
        ("ΑΣ", "ασ"),
        ("İ", "i"),
    ]
    .map(|(a, b)| (format!("{a}{id}"), format!("{b}{id}")))
}

pub(crate) async fn what_the_server_takes_for_one_name_is_one_lock<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (ours, theirs) = (scene.db_of("ours", 1).await, scene.db_of("theirs", 1).await);
    let mut raw = scene.raw().await?;
    for (a, b) in spellings() {
        let guard = ours.dlock(&a).timeout(PATIENCE).await?;
        assert_eq!(guard.physical_key().to_string(), a);
        assert_eq!(raw.can_lock(&b).await?, !S::FOLDS_CASE, "{b}");
        for db in [&ours, &theirs] {
            let other = db.dlock(&b).try_acquire().await?;
            assert_eq!(other.is_none(), S::FOLDS_CASE, "{b}");
            if let Some(other) = other {
                other.release().await?;
            }
        }
        assert!(guard.is_held());
        assert!(!raw.can_lock(&a).await?);
        guard.release().await?;
        // It was not taken a second time.
        assert!(raw.can_lock(&a).await? && raw.can_lock(&b).await?);
    }
    Ok(())
}

pub(crate) async fn accents_and_spaces_at_the_end_make_another_name<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let id = name();
    let names = [
        "e", "é", "e ", "e  ", " e", "e\u{301}", "ss", "ß", "ẞ", "ﬁ", "fi",
    ];
    let mut guards = Vec::new();
    for text in names.map(|text| format!("{id}{text}")) {
        let guard = db.dlock(&text).try_acquire().await?;
        let Some(guard) = guard else {
            assert!(S::FOLDS_CASE && text.ends_with('ẞ'), "{text}");
            continue;
        };
        guards.push(guard);
    }
    for guard in guards {
        guard.release().await?;
    }
    Ok(())
}

/// A waiter with the other spelling gets the lock when it is released, and not before.
async fn waits<S: Server>(scene: &Scene<S>, sessions: usize) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let pool = LockPool::builder(&db).max_sessions(sessions).install();
    let mut raw = scene.raw().await?;
    for (a, b) in spellings() {
        let guard = pool.dlock(&a).timeout(PATIENCE).await?;
        let short = Duration::from_millis(50);
        let late = pool.dlock(&b).timeout(short).await;
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        let waiter = tokio::spawn({
            let (pool, b) = (pool.clone(), b.clone());
            async move { pool.dlock(b).timeout(PATIENCE).await }
        });
        waiting(&db, 1).await?;
        if sessions > 1 {
            raw.until_wanted(&b, 1).await?;
        }
        assert!(guard.is_held() && !waiter.is_finished());
        guard.release().await?;
        let other = waiter.await??;
        assert_eq!(other.physical_key().to_string(), b);
        assert!(pool.dlock(&a).try_acquire().await?.is_none());
        assert!(!raw.can_lock(&a).await?);
        other.release().await?;
        assert!(raw.can_lock(&a).await?);
    }
    assert_eq!(pool.status().counters.sessions_lost, 0);
    pool.close().await;
    Ok(())
}

pub(crate) async fn a_waiter_with_the_other_spelling_gets_it_after_the_release<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    waits(scene, 4).await
}

pub(crate) async fn one_session_is_enough_for_both_spellings<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    waits(scene, 1).await
}

/// Of tries that travel together; on sessions of one pool and of two.
pub(crate) async fn of_spellings_that_are_tried_at_once_one_is_granted<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (ours, theirs) = (scene.db_of("ours", 1).await, scene.db_of("theirs", 1).await);
    let apart = LockPool::builder(&ours).max_locks_per_session(1).build();
    let pools = [LockPool::of(&ours), LockPool::of(&theirs), apart];
    let mut total = 0;
    for round in 0..20 {
        let id = name();
        let mut tries = JoinSet::new();
        for spelling in ["Key", "key", "kEY", "KEY"] {
            for pool in &pools[round % 2..] {
                let (pool, text) = (pool.clone(), format!("{spelling}{id}"));
                tries.spawn(async move { pool.dlock(text).try_acquire().await });
            }
        }
        let mut granted = Vec::new();
        for tried in tries.join_all().await {
            granted.extend(tried?);
        }
        let names: HashSet<_> = granted.iter().map(|guard| guard.physical_key()).collect();
        assert_eq!(names.len(), granted.len());
        // A try may meet one that is given up: none is possible, two never.
        let most = if S::FOLDS_CASE { 1 } else { 4 };
        assert!(granted.len() <= most, "{granted:?}");
        total += granted.len();
        for guard in granted {
            guard.release().await?;
        }
    }
    assert!(total > 10, "{total}");
    Ok(())
}

/// The spellings take turns; whoever has it is alone.
pub(crate) async fn tasks_that_spell_a_name_differently_take_turns<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let id = name();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for spelling in ["Key", "key", "kEy", "KEY"] {
        let (db, text, inside) = (db.clone(), format!("{spelling}{id}"), inside.clone());
        tasks.spawn(async move {
            for _ in 0..15 {
                let guard = db.dlock(&text).timeout(PATIENCE).await?;
                let others = inside.fetch_add(1, Ordering::SeqCst);
                assert!(others == 0 || !S::FOLDS_CASE, "{others} others");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                guard.release().await?;
            }
            Ok::<_, Error>(())
        });
    }
    for task in soon("their turns", tasks.join_all()).await? {
        task?;
    }
    let pool = LockPool::of(&db);
    eventually("nothing is left", async || Ok(pool.status().keys == 0)).await?;
    assert_eq!(pool.status().counters.sessions_lost, 0);
    Ok(())
}
