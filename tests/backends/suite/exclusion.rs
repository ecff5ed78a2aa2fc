//! Promise 1: mutual exclusion.

use std::time::Duration;

use dlock::{DLockExt, Error, Key, Mode};
use dlock_tests::{Db, Scope, Way};

use super::{Backend, OrmBackend, Outcome, Peer, Scene};

const PROCESSES: usize = 4;
const TASKS: usize = 32;
const ROUNDS: usize = 4;

pub(crate) async fn a_counter_loses_no_update_to_four_processes<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let raised = raise(scene, &scene.key().to_string(), PROCESSES).await?;
    assert_eq!(raised, PROCESSES * TASKS * ROUNDS);
    Ok(())
}

pub(crate) async fn a_counter_loses_no_update_to_pinned_and_other_locks<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let raised = raise(scene, &format!("mixed:{}", scene.key()), 2).await?;
    assert_eq!(raised, 2 * TASKS * ROUNDS);
    Ok(())
}

/// Without this the test above would prove nothing.
pub(crate) async fn a_counter_without_lock_loses_updates<B: Backend>(scene: &Scene<B>) -> Outcome {
    let raised = raise(scene, "-", PROCESSES).await?;
    assert!(raised < PROCESSES * TASKS * ROUNDS, "{raised}");
    Ok(())
}

async fn raise<B: Backend>(scene: &Scene<B>, key: &str, processes: usize) -> Outcome<usize> {
    let db = scene.db("watcher").await;
    let counter = scene.counter(&db).await?;
    let mut peers = Vec::new();
    for _ in 0..processes {
        peers.push(scene.peer("counter").await?);
    }
    for peer in &mut peers {
        let order = format!("raise {} {key} {TASKS} {ROUNDS}", scene.name);
        peer.order(order).await?;
    }
    for peer in &mut peers {
        peer.expect("raised").await?;
    }
    let raised = counter.stands_at(&db).await?;
    counter.remove(&db).await?;
    Ok(usize::try_from(raised)?)
}

pub(crate) async fn every_pair_of_ways_excludes_or_coexists_between_processes<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("asker").await;
    let mut peer = scene.peer("holder").await?;
    for holder in offered::<B>(&db, scene).await? {
        for asker in offered::<B>(&db, scene).await? {
            let key = scene.key();
            peer.hold(key, holder).await?;
            let got = asker.try_acquire(&db, key).await?;
            assert_eq!(
                got.is_some(),
                coexist(holder, asker),
                "{asker} beside {holder}"
            );
            if let Some(got) = got {
                got.release().await?;
            }
            peer.release(key).await?;
            takes_turns(&db, &mut peer, key, asker, holder).await?;
        }
    }
    Ok(())
}

/// The other way round: what was free again is held again, and what was refused is got.
async fn takes_turns(db: &impl Db, peer: &mut Peer, key: i64, holder: Way, asker: Way) -> Outcome {
    let held = holder.acquire(db, key, Duration::from_secs(20)).await?;
    let got = peer.try_hold(key, asker).await?;
    assert_eq!(got, coexist(holder, asker), "{asker} beside {holder}");
    if got {
        peer.release(key).await?;
    }
    Ok(held.release().await?)
}

pub(crate) async fn every_pair_of_ways_excludes_or_coexists_between_pools<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    for holder in offered::<B>(&ours, scene).await? {
        for asker in offered::<B>(&ours, scene).await? {
            for holder_db in [&ours, &theirs] {
                let key = scene.key();
                let held = holder
                    .acquire(holder_db, key, Duration::from_secs(20))
                    .await?;
                let got = asker.try_acquire(&ours, key).await?;
                assert_eq!(
                    got.is_some(),
                    coexist(holder, asker),
                    "{asker} beside {holder}"
                );
                held.release().await?;
                if let Some(got) = got {
                    got.release().await?;
                }
            }
        }
    }
    Ok(())
}

fn coexist(a: Way, b: Way) -> bool {
    a.mode == Mode::Shared && b.mode == Mode::Shared
}

/// The ways that the backend has. The others must say so, and lock nothing weaker.
async fn offered<B: Backend>(db: &B::Db, scene: &Scene<B>) -> Outcome<Vec<Way>> {
    let mut offered = Vec::new();
    for way in Way::all() {
        let has_mode = B::SHARED || way.mode != Mode::Shared;
        let has_scope = match way.scope {
            Scope::Session => true,
            Scope::Pinned => B::PINNED,
            Scope::Transaction => B::XACT,
        };
        if has_mode && has_scope {
            offered.push(way);
            continue;
        }
        let refused = way.try_acquire(db, scene.key()).await;
        assert!(
            matches!(refused, Err(Error::Unsupported { .. })),
            "{way}: {refused:?}"
        );
    }
    Ok(offered)
}

pub(crate) async fn every_kind_of_key_excludes_itself<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let text = format!("{} Grüße", scene.name);
    let pair = (fastrand::i32(..), fastrand::i32(..));
    let kinds = [
        Key::from(text.as_str()),
        Key::from(format!("{text}, as bytes").into_bytes()),
        Key::from(scene.key()),
        Key::from(pair),
    ];
    for key in kinds {
        let guard = ours.dlock(&key).await;
        if !B::PAIRS && key == Key::from(pair) {
            assert!(matches!(guard, Err(Error::Unsupported { .. })), "{guard:?}");
            continue;
        }
        let guard = guard?;
        assert_eq!(guard.key(), &key);
        assert!(theirs.dlock(&key).try_acquire().await?.is_none(), "{key}");
        if B::PINNED {
            let pinned = theirs.dlock(&key).pinned().try_acquire().await?;
            assert!(pinned.is_none(), "{key}");
        }
        let physical = guard.physical_key().clone();
        guard.release().await?;
        if B::PINNED {
            let pinned = ours.dlock(&key).pinned().await?;
            assert_eq!((pinned.key(), pinned.physical_key()), (&key, &physical));
            assert!(theirs.dlock(&key).try_acquire().await?.is_none(), "{key}");
            pinned.release().await?;
        }
        assert!(theirs.dlock(&key).try_acquire().await?.is_some(), "{key}");
    }
    Ok(())
}

/// Python's test_many_str_key, test_many_int_key and test_many_bytes_key; a text has 64 characters, the most that MySQL takes.
pub(crate) async fn a_hundred_keys_of_every_kind_are_held_at_once<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let text = || format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
    let mut keys: Vec<Key> = Vec::new();
    for _ in 0..100 {
        keys.push(text().into());
        keys.push(text().into_bytes().into());
        keys.push(scene.key().into());
    }
    let mut guards = Vec::new();
    for key in &keys {
        guards.push(ours.dlock(key).await?);
    }
    for key in &keys {
        assert!(theirs.dlock(key).try_acquire().await?.is_none(), "{key}");
    }
    for guard in guards {
        guard.release().await?;
    }
    for key in &keys {
        assert!(theirs.dlock(key).try_acquire().await?.is_some(), "{key}");
    }
    Ok(())
}

pub(crate) async fn different_keys_do_not_meet<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let mut guards = Vec::new();
    for key in scene.keys(50) {
        guards.push(ours.dlock(key).try_acquire().await?);
        guards.push(theirs.dlock(scene.key()).try_acquire().await?);
    }
    assert!(guards.iter().all(Option::is_some));
    Ok(())
}
