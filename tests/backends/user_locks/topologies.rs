//! Set-ups in which a lock would be false: six applications acquire one key, and no two of them are
//! inside together. Each set-up is refused, or its locks exclude.

use std::time::Duration;

use dlock::{DLockExt, LockPool};
use dlock_tests::{Db, Race, Way, env, race};
use sea_orm::DatabaseConnection;

use super::changed::Changed;
use super::raw::Raw;
use super::refusals::{READ_ONLY, WRITABLE};
use super::splitter::{Mode, SessionStatements, Splitter};
use super::{Scene, Server};
use crate::suite::{Outcome, soon};

pub(crate) const APPLICATIONS: usize = 6;
const ROUNDS: usize = 20;
const TIMEOUT: Duration = Duration::from_millis(300);

pub(crate) async fn applications(url: &str) -> Vec<DatabaseConnection> {
    let mut applications = Vec::new();
    for _ in 0..APPLICATIONS {
        applications.push(DatabaseConnection::open(url, 2).await);
    }
    applications
}

async fn race_of(applications: Vec<DatabaseConnection>, way: Way) -> Race {
    let race = race(applications, fastrand::i64(..), way, ROUNDS, TIMEOUT).await;
    race.assert_exclusive();
    race
}

/// No application gets a lock in any way.
pub(crate) async fn assert_refused(url: &str) {
    for way in [Way::PLAIN, Way::PINNED] {
        let race = race_of(applications(url).await, way).await;
        let counts = (race.granted, race.refused.len());
        assert_eq!(counts, (0, APPLICATIONS), "{way}: {race}");
    }
}

/// Each application opens one session after the other, so they alternate between the servers.
pub(crate) async fn two_servers_behind_one_address_are_refused<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let balancer = env(S::BALANCER);
    let mut two_sessions_each = Vec::new();
    for db in applications(&balancer).await {
        let db = db.shaped(&balancer, |pool| pool.max_locks_per_session(1));
        let first = db.dlock(scene.key()).await?;
        if let Err(refused) = db.dlock(scene.key()).await {
            assert!(refused.to_string().contains("two servers"), "{refused}");
            soon("the loss", first.lost()).await?;
        }
        two_sessions_each.push(db);
    }
    let race = race_of(two_sessions_each, Way::PLAIN).await;
    let counts = (race.granted, race.refused.len());
    assert_eq!(counts, (0, APPLICATIONS), "{race}");
    Ok(())
}

pub(crate) async fn statements_that_go_to_two_servers_in_turn_are_refused<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    for session_statements in [SessionStatements::ToOne, SessionStatements::ToBoth] {
        let mode = Mode::RoundRobinStatements {
            servers: [env(S::URL), env(S::SECOND)],
            session_statements,
        };
        assert_refused(Splitter::start(mode).await?.url()).await;
    }
    Ok(())
}

pub(crate) async fn a_splitter_with_a_writable_replica_is_refused<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    for session_statements in [SessionStatements::ToOne, SessionStatements::ToBoth] {
        let mode = Mode::SplitReads {
            primary: env(S::URL),
            replica: env(S::SECOND),
            session_statements,
        };
        assert_refused(Splitter::start(mode).await?.url()).await;
    }
    Ok(())
}

pub(crate) async fn a_splitter_with_a_read_only_replica_is_refused<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    let server = Changed::take::<S>([WRITABLE]).await?;
    let replica = server.url().await?;
    let test = async move {
        Raw::at(&replica).await?.run(READ_ONLY).await?;
        for session_statements in [SessionStatements::ToOne, SessionStatements::ToBoth] {
            let mode = Mode::SplitReads {
                primary: env(S::URL),
                replica: replica.clone(),
                session_statements,
            };
            assert_refused(Splitter::start(mode).await?.url()).await;
        }
        Ok(())
    };
    server.run(test).await
}

/// It is up to the pool how it is refused: its guards are lost, whichever session they are on.
pub(crate) async fn a_pool_whose_answers_come_from_another_session_is_refused_as_a_whole<
    S: Server,
>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    LockPool::builder(&db).max_locks_per_session(1).install();
    let guards = [db.dlock(scene.key()).await?, db.dlock(scene.key()).await?];
    let pinned = db.dlock(scene.key()).pinned().await?;
    proxy.swap().await;
    for guard in &guards {
        soon("the loss", guard.lost()).await?;
    }
    soon("the loss", pinned.lost()).await?;
    let refused = db.dlock(scene.key()).try_acquire().await;
    let refused = refused.map(drop).expect_err("it is refused").to_string();
    assert!(
        refused.contains("another server session") && refused.contains("sessions_from"),
        "{refused}"
    );
    Ok(())
}
