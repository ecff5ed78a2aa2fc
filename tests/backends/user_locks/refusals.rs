//! What a lock pool refuses, because locks there would exclude nobody: naming what it found and the way out, promptly, with nothing held.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::{connect, env};
use sea_orm::DatabaseConnection;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::changed::Changed;
use super::options::name;
use super::raw::Raw;
use super::{Scene, Server};
use crate::suite::{Failure, Outcome, PATIENCE, elapsed, eventually, in_one_of, soon};

const ATTEMPTS: usize = 4;

/// Asserts that the lock is refused, for a try as for a wait. Returns what was found, and the way out.
async fn refused(db: &DatabaseConnection) -> Outcome<(String, String)> {
    let tried = db.dlock(name()).try_acquire().await;
    assert!(matches!(tried, Err(Error::Refused { .. })), "{tried:?}");
    let (waited, took) = elapsed(db.dlock(name()).into_future()).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let status = LockPool::of(db).status();
    assert_eq!((status.sessions, status.keys, status.held), (0, 0, 0));
    match waited {
        Err(Error::Refused {
            found,
            expected,
            way_out,
            ..
        }) => Ok((found.into_owned(), format!("{expected}; {way_out}"))),
        other => Err(Failure::new(format!("{other:?}"))),
    }
}

pub(crate) async fn a_galera_node_is_refused<S: Server>(_: &Scene<S>) -> Outcome {
    let db = connect(&env("DLOCK_TEST_GALERA_URL"), 1).await;
    let (found, hint) = refused(&db).await?;
    assert!(
        found.contains("Galera") && found.contains("GET_LOCK"),
        "{found}"
    );
    assert!(hint.contains("not part of a cluster"), "{hint}");
    Ok(())
}

/// The plugin alone shows what its server would be.
pub(crate) async fn a_group_with_several_primaries_is_refused<S: Server>(_: &Scene<S>) -> Outcome {
    let single = "SET GLOBAL group_replication_single_primary_mode = ON";
    let uninstall = "UNINSTALL PLUGIN group_replication";
    let member = Changed::take::<S>([single, uninstall]).await?;
    let url = member.url().await?;
    let test = async move {
        let mut admin = Raw::at(&url).await?;
        let install = "INSTALL PLUGIN group_replication SONAME 'group_replication.so'";
        admin.run(install).await?;
        let db = connect(&url, 1).await;
        db.dlock(name()).await?.release().await?;
        LockPool::of(&db).close().await;

        let several = single.replace("ON", "OFF");
        admin.run(&several).await?;
        let db = connect(&url, 1).await;
        let (found, hint) = refused(&db).await?;
        assert!(found.contains("several primaries"), "{found}");
        assert!(hint.contains("single primary"), "{hint}");
        admin.run(single).await?;
        Ok(db.dlock(name()).await?.release().await?)
    };
    member.run(test).await
}

pub(super) const WRITABLE: &str = "SET GLOBAL read_only = OFF";
pub(super) const READ_ONLY: &str = "SET GLOBAL read_only = ON";

async fn refused_as_read_only(db: &DatabaseConnection) -> Outcome {
    let (found, hint) = refused(db).await?;
    assert!(found.contains("read-only"), "{found}");
    assert!(hint.contains("primary"), "{hint}");
    Ok(())
}

pub(crate) async fn a_server_that_is_read_only_is_refused_as_long_as_it_is<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    let server = Changed::take::<S>([WRITABLE]).await?;
    let url = server.url().await?;
    let test = async move {
        let mut admin = Raw::at(&url).await?;
        admin.run(READ_ONLY).await?;
        let db = connect(&url, 1).await;
        refused_as_read_only(&db).await?;
        admin.run(WRITABLE).await?;
        Ok(db.dlock(name()).await?.release().await?)
    };
    server.run(test).await
}

/// A primary that becomes a replica: whoever locks from now on locks elsewhere. Sessions that are busy hear of it as well as those that are not.
pub(crate) async fn a_lock_on_a_server_that_becomes_read_only_is_lost<S: Server>(
    _: &Scene<S>,
) -> Outcome {
    let server = Changed::take::<S>([WRITABLE]).await?;
    let url = server.url().await?;
    let test = async move {
        let mut admin = Raw::at(&url).await?;
        let (quiet, busy) = (connect(&url, 1).await, connect(&url, 1).await);
        LockPool::builder(&busy).max_sessions(1).install();
        in_one_of(ATTEMPTS, Duration::from_secs(1), async || {
            let guards = [quiet.dlock(name()).await?, busy.dlock(name()).await?];
            let mut load = JoinSet::new();
            let db = busy.clone();
            load.spawn(async move {
                while let Ok(guard) = db.dlock(name()).await {
                    drop(guard.release().await);
                }
            });
            sleep(Duration::from_millis(fastrand::u64(..600))).await;
            admin.run(READ_ONLY).await?;
            let turned = Instant::now();
            for guard in &guards {
                soon("the loss", guard.lost()).await?;
            }
            let took = turned.elapsed();
            for guard in guards {
                let released = guard.release().await;
                assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
            }
            soon("the end of the load", load.join_all()).await?;
            for db in [&quiet, &busy] {
                refused_as_read_only(db).await?;
            }
            admin.run(WRITABLE).await?;
            for db in [&quiet, &busy] {
                db.dlock(name()).await?.release().await?;
            }
            Ok(took)
        })
        .await
    };
    server.run(test).await
}

/// Behind one address was this server, and then is the other: both are alive, so all locks of the
/// pool are lost for good. A new pool takes the other server for what it is.
pub(crate) async fn a_server_of_the_other_kind_is_not_taken_for_the_same<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let pool = LockPool::builder(&db).max_locks_per_session(1).install();
    let held = pool.dlock(name()).await?;
    proxy.aim(&env(S::Other::URL))?;

    let further = pool.dlock(name()).timeout(PATIENCE).await;
    assert!(matches!(further, Err(Error::Refused { .. })), "{further:?}");
    soon("the loss", held.lost()).await?;
    let (found, hint) = refused(&db).await?;
    assert!(found.contains("two servers"), "{found}");
    assert!(
        hint.contains("restart") && hint.contains("new lock pool"),
        "{hint}"
    );
    proxy.aim(&scene.url("ours"))?;
    refused(&db).await?;
    proxy.aim(&env(S::Other::URL))?;
    let anew = LockPool::builder(&db).build();
    Ok(anew.dlock(name()).await?.release().await?)
}

/// Nothing of the first server is left when the other takes its place, but for its way to compare
/// names.
pub(crate) async fn a_server_of_the_other_kind_is_no_failover<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let proxy = scene.proxy().await?;
    let db = proxy.db();
    let pool = LockPool::builder(&db).install();
    pool.dlock(name()).await?.release().await?;
    proxy.aim(&env(S::Other::URL))?;
    let mut raw = scene.raw().await?;
    kill(&mut raw, &pool).await?;
    let (found, hint) = refused(&db).await?;
    assert!(
        found.contains("MariaDB") && found.contains("MySQL"),
        "{found}"
    );
    assert!(hint.contains("restart") || hint.contains("anew"), "{hint}");

    // The first is used again.
    proxy.aim(&scene.url("ours"))?;
    Ok(pool.dlock(name()).await?.release().await?)
}

/// Ends the sessions of a pool, by what it lists of itself.
async fn kill(raw: &mut Raw, pool: &LockPool) -> Outcome {
    let guard = pool.dlock(name()).timeout(PATIENCE).await?;
    let holder = raw.holder(guard.physical_key()).await?;
    let holder = holder.ok_or_else(|| Failure::new("nobody holds it"))?;
    raw.run(&format!("KILL {holder}")).await?;
    soon("the loss", guard.lost()).await?;
    let gone = async || Ok(pool.status().sessions == 0);
    eventually("no session is left", gone).await
}
