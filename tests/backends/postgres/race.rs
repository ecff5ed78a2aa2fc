//! The race of `dlock-tests`: it counts every overlap, and finds none where locks exclude.

use std::time::Duration;

use dlock_tests::{Db, Way, race};
use sea_orm::DatabaseConnection;

use super::server::{key, name, url};

const APPLICATIONS: usize = 6;
const ROUNDS: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(5);

async fn applications(url: &str) -> Vec<DatabaseConnection> {
    let mut applications = Vec::new();
    for _ in 0..APPLICATIONS {
        applications.push(DatabaseConnection::open(url, 2).await);
    }
    applications
}

#[tokio::test]
async fn a_race_without_a_proxy_is_exclusive_in_every_way() {
    for way in Way::all() {
        if way.mode == dlock::Mode::Exclusive {
            let race = race(applications(&url()).await, key(), way, ROUNDS, TIMEOUT).await;
            race.assert_exclusive();
            assert_eq!(race.granted, APPLICATIONS * ROUNDS, "{way}: {race}");
        }
    }
}

/// Keys in different namespaces are different locks: the race has to count overlaps.
#[tokio::test]
#[should_panic(expected = "the lock is not exclusive")]
async fn a_race_without_exclusion_has_overlaps() {
    let url = url();
    let mut separate = Vec::new();
    for db in applications(&url).await {
        separate.push(db.shaped(&url, |pool| pool.namespace(name())));
    }
    let race = race(separate, key(), Way::PLAIN, ROUNDS, TIMEOUT).await;
    race.assert_exclusive();
}
