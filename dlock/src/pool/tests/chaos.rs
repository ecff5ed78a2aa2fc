//! Many tasks, many keys, random modes, timeouts, cancellations and faults: whatever happens, nobody holds wrongly and nothing is left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fake::{Fault, Server};
use super::{MS, acquire, config, name};
use crate::mode::Mode;
use crate::pool::config::Config;
use crate::pool::{Grant, LockPool};

/// Who holds what, as the holders themselves see it.
#[derive(Default)]
struct Ledger(Mutex<HashMap<i64, Vec<(u64, Mode)>>>);

impl Ledger {
    fn enter(&self, key: i64, who: u64, mode: Mode) {
        let mut held = self.0.lock().unwrap();
        let holders = held.entry(key).or_default();
        let conflict = holders
            .iter()
            .any(|(_, other)| *other == Mode::Exclusive || mode == Mode::Exclusive);
        assert!(!conflict, "{mode} on {key} beside {holders:?}");
        holders.push((who, mode));
    }

    fn leave(&self, key: i64, who: u64) {
        let mut held = self.0.lock().unwrap();
        held.entry(key)
            .or_default()
            .retain(|(holder, _)| *holder != who);
    }
}

/// Holds the lock until its time is up or it is lost; a loss counts from the moment it is known.
async fn hold(grant: &Grant, time: Duration) -> bool {
    tokio::select! {
        biased;
        () = grant.lost() => false,
        () = sleep(time) => true,
    }
}

async fn live(pool: LockPool, ledger: Arc<Ledger>, who: u64, mut random: fastrand::Rng) {
    for _ in 0..60 {
        let key = random.i64(0..4);
        let mode = if random.bool() {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        let limit = random.bool().then(|| random.u32(1..30) * MS);
        // Dropped at a random moment: while it queues, connects, asks or waits.
        let patience = random.u32(0..40_000) * Duration::from_micros(1);
        let Ok(Ok(grant)) = timeout(patience, acquire(&pool, key, mode, limit)).await else {
            continue;
        };
        if !grant.is_held() {
            continue;
        }
        ledger.enter(key, who, mode);
        // Mostly short; sometimes longer than the time in which a lock goes from hand to hand.
        let limit = if random.u8(0..10) == 0 { 300_000 } else { 3000 };
        let kept = hold(&grant, random.u32(0..limit) * Duration::from_micros(1)).await;
        ledger.leave(key, who);
        match random.bool() && kept {
            true => drop(grant.release(&name()).await),
            false => drop(grant),
        }
    }
}

async fn play(seed: u64, server: Arc<Server>, faults: bool, config: Config) {
    let mut random = fastrand::Rng::with_seed(seed);
    let ledger = Arc::new(Ledger::default());
    let pools = [server.pool("a", config.clone()), server.pool("b", config)];
    let tasks: Vec<_> = (0..24)
        .map(|who| {
            let pool = pools[who as usize % 2].clone();
            tokio::spawn(live(pool, Arc::clone(&ledger), who, random.fork()))
        })
        .collect();
    let trouble = tokio::spawn({
        let server = Arc::clone(&server);
        async move {
            if !faults {
                return;
            }
            loop {
                sleep(random.u32(1..20) * MS).await;
                server.inject([match random.u8(0..5) {
                    0 => Fault::Refuse,
                    1 => Fault::Fail,
                    2 => Fault::DieBefore,
                    3 => Fault::DieAfter,
                    _ => Fault::Slow(random.u32(1..10) * MS),
                }]);
            }
        }
    });
    for task in tasks {
        task.await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    trouble.abort();
    server.forget_faults();
    for pool in &pools {
        sleep(Duration::from_secs(5)).await;
        let status = pool.status();
        assert_eq!((status.keys, status.held), (0, 0), "seed {seed}: {status}");
        for key in 0..4 {
            drop(
                acquire(pool, key, Mode::Exclusive, Some(100 * MS))
                    .await
                    .unwrap(),
            );
        }
        pool.close().await;
    }
    assert_eq!((server.held(), server.sessions()), (0, 0), "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_wrongly_and_nothing_is_left() {
    for seed in 0..40 {
        play(seed, Server::new(), false, config()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_when_connections_are_refused_requests_fail_and_answers_are_late() {
    for seed in 200..230 {
        play(seed, Server::new(), true, config()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_with_many_small_sessions() {
    let config = Config {
        max_locks_per_session: 1,
        max_sessions: 3,
        ..config()
    };
    for seed in 300..330 {
        play(seed, Server::new(), true, config.clone()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_with_one_session() {
    let config = Config {
        max_sessions: 1,
        ..config()
    };
    for seed in 100..120 {
        play(seed, Server::new(), seed % 2 == 0, config.clone()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_where_sessions_answer_at_once() {
    for seed in 400..440 {
        play(seed, Server::local(), seed % 2 == 0, config()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_where_sessions_end_unseen() {
    for seed in 500..530 {
        play(seed, Server::asked(), seed % 2 == 0, config()).await;
    }
}
