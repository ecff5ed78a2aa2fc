//! MySQL Group Replication, and MySQL Router in front of it.

use std::time::Duration;

use dlock::{DLockExt, Error};
use dlock_tests::{Victim, connect, env};
use tokio::time::{Instant, sleep};

use crate::suite::{Failure, Outcome, PATIENCE, eventually, soon};
use crate::user_locks::topologies::assert_refused;
use crate::user_locks::{Changed, MySql, Raw, name};

/// The others elect a new primary after about 20 s.
const BEFORE_ANOTHER_PRIMARY: Duration = Duration::from_secs(10);

/// The group, for one test at a time. It is whole again when the next test takes it.
struct Group(Victim);

impl Group {
    async fn take() -> Outcome<Self> {
        Ok(Self(Victim::take(env("DLOCK_TEST_MYSQL_GROUP")).await?))
    }

    async fn primary(&self) -> Outcome<String> {
        Ok(self.0.call(&["primary"]).await?)
    }

    /// The numbers of the members that are not the primary.
    async fn secondaries(&self) -> Outcome<Vec<&'static str>> {
        let primary = self.primary().await?;
        let mut secondaries = Vec::new();
        for number in ["1", "2", "3"] {
            if self.0.call(&["url", number]).await? != primary {
                secondaries.push(number);
            }
        }
        match secondaries.len() {
            2 => Ok(secondaries),
            _ => Err(Failure::new(format!("the primary is {primary}"))),
        }
    }

    async fn all(&self, verb: &str, members: &[&str]) -> Outcome {
        for member in members {
            self.0.call(&[verb, member]).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_primary_that_loses_its_majority_loses_its_locks_before_another_is_elected() -> Outcome {
    let group = Group::take().await?;
    let db = connect(&group.primary().await?, 1).await;
    let guard = db.dlock(name()).await?;
    let pinned = db.dlock(name()).pinned().await?;
    // Longer than a group may be silent.
    sleep(Duration::from_secs(8)).await;
    assert!(guard.is_held() && pinned.is_held(), "a healthy group");

    let secondaries = group.secondaries().await?;
    group.all("freeze", &secondaries).await?;
    let frozen = Instant::now();
    let test = async {
        soon("the loss", guard.lost()).await?;
        soon("the loss", pinned.lost()).await?;
        let took = frozen.elapsed();
        assert!(took < BEFORE_ANOTHER_PRIMARY, "{took:?}");
        let Err(Error::Refused { found, .. }) = db.dlock(name()).await else {
            panic!("no lock without a majority");
        };
        assert!(found.contains("majority"), "{found}");
        Outcome::Ok(())
    };
    let result = test.await;
    group.all("thaw", &secondaries).await?;
    result?;
    eventually("the group is whole, and locks again", async || {
        let locked = db.dlock(name()).timeout(PATIENCE).await;
        Ok(locked.is_ok())
    })
    .await
}

/// Each member by itself would grant.
#[tokio::test]
async fn a_server_that_has_not_joined_its_group_is_refused() -> Outcome {
    let uninstall = "UNINSTALL PLUGIN group_replication";
    let member = Changed::take::<MySql>([uninstall]).await?;
    let url = member.url().await?;
    let test = async move {
        let mut admin = Raw::at(&url).await?;
        let install = "INSTALL PLUGIN group_replication SONAME 'group_replication.so'";
        admin.run(install).await?;
        let named = "SET GLOBAL group_replication_group_name = UUID()";
        admin.run(named).await?;
        let db = connect(&url, 1).await;
        for refused in [
            db.dlock(name()).await.map(drop),
            db.dlock(name()).pinned().await.map(drop),
        ] {
            let Err(Error::Refused { found, way_out, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert!(found.contains("not joined"), "{found}");
            assert!(way_out.contains("START GROUP_REPLICATION"), "{way_out}");
        }
        Ok(())
    };
    member.run(test).await
}

#[tokio::test]
async fn the_port_of_mysql_router_that_splits_reads_is_refused() -> Outcome {
    let _group = Group::take().await?;
    assert_refused(&env("DLOCK_TEST_MYSQL_ROUTER_URL")).await;
    Ok(())
}
