//! What dlock tells by `tracing` of these servers' sessions: a key in the field `key` and nowhere else.

use std::panic::resume_unwind;
use std::thread;

use dlock::{DLockExt, Error, LockPool};
use sea_orm::sqlx::mysql::MySqlPoolOptions;
use tokio::runtime;
use tokio::task::block_in_place;
use tracing::Level;

use super::options::options;
use super::{Scene, Server};
use crate::ear::Ear;
use crate::suite::{Outcome, soon};

/// All that is told on a thread is told of its test.
fn alone(test: impl AsyncFnOnce(Ear) -> Outcome + Send) -> Outcome {
    let test = || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(test(Ear::open()))
    };
    let tested = block_in_place(|| thread::scope(|scope| scope.spawn(test).join()));
    tested.unwrap_or_else(|panic| resume_unwind(panic))
}

pub(crate) async fn a_session_that_is_killed_is_told_with_its_locks<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    alone(async |ear| {
        let pool = MySqlPoolOptions::new().connect_lazy_with(options(&scene.url("ours"))?);
        let (application, name) = (scene.application("ours"), &scene.name);
        let mut keys = [format!("{name} one"), format!("{name} two")];
        let guards = [pool.dlock(&keys[0]).await?, pool.dlock(&keys[1]).await?];
        let mut raw = scene.raw().await?;
        let session = raw.sessions(&application).await?.concat();
        assert!(raw.kill("CONNECTION", &session).await);
        for guard in &guards {
            soon("the loss", guard.lost()).await?;
        }
        let session = ear.one("session lost");
        assert_eq!(session.level, Level::WARN);
        let error = session.field("error");
        assert!(!error.is_empty(), "{session:?}");
        let locks = ear.of("lock lost");
        let mut lost: Vec<&str> = locks.iter().map(|told| told.field("key")).collect();
        lost.sort_unstable();
        keys.sort_unstable();
        assert_eq!(lost, keys);
        ear.has_keys_in_their_field_only(&[&keys[0], &keys[1]]);
        Ok(())
    })
}

pub(crate) async fn a_session_that_is_refused_is_told_with_the_cause<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    alone(async |ear| {
        let elsewhere = format!("{}_nowhere", scene.name);
        let options = options(&scene.url("ours"))?.database(&elsewhere);
        let pool = MySqlPoolOptions::new().connect_lazy_with(options);
        let key = format!("{} key", scene.name);
        let refused = soon("the refusal", pool.dlock(&key).into_future()).await?;
        assert!(
            matches!(refused, Err(Error::Database { .. })),
            "{refused:?}"
        );
        let told = ear.one("session refused");
        assert_eq!(told.level, Level::WARN);
        assert!(told.field("error").contains("connect"), "{told:?}");
        assert!(told.field("cause").contains(&elsewhere), "{told:?}");
        assert!(ear.of("acquired").is_empty());
        assert_eq!(LockPool::of(&pool).status().sessions, 0);
        ear.has_keys_in_their_field_only(&[&key]);
        Ok(())
    })
}
