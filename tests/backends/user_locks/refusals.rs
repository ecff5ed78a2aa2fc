//! What a lock pool refuses, because locks there would exclude nobody: naming what it found and the way out, promptly, with nothing held.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::{Victim, connect, env};
use sea_orm::DatabaseConnection;

use super::Server;
use super::raw::{Raw, name, url};
use super::switch::Switch;
use crate::suite::{Failure, Outcome, PATIENCE, elapsed, eventually, soon};

/// The lock is refused, for a try as for a wait. Says what was found, and the hint.
async fn refused(db: &DatabaseConnection) -> Outcome<(&'static str, &'static str)> {
    let tried = db.dlock(name()).try_acquire().await;
    assert!(matches!(tried, Err(Error::Unsupported { .. })), "{tried:?}");
    let (waited, took) = elapsed(db.dlock(name()).into_future()).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let status = LockPool::of(db).status();
    assert_eq!((status.sessions, status.keys, status.held), (0, 0, 0));
    match waited {
        Err(Error::Unsupported { backend, hint, .. }) => Ok((backend, hint)),
        other => Err(Failure::new(format!("{other:?}"))),
    }
}

pub(crate) async fn a_galera_node_is_refused<S: Server>() -> Outcome {
    let db = connect(&env("DLOCK_TEST_GALERA_URL"), 1).await;
    let (backend, hint) = refused(&db).await?;
    assert!(backend.contains("Galera"), "{backend}");
    assert!(hint.contains("GET_LOCK"), "{hint}");
    Ok(())
}

pub(crate) async fn a_read_only_server_is_refused_as_long_as_it_is_one<S: Server>() -> Outcome {
    let victim = Victim::take(env(S::VICTIM)).await?;
    let url = victim.url().await?;
    let db = connect(&url, 1).await;
    let mut raw = Raw::at(&url).await?;
    let before = db.dlock(name()).await?;
    let another = LockPool::builder(&db).build();

    raw.run("SET GLOBAL read_only = ON").await?;
    let late = another.dlock(name()).await;
    let result = tokio::spawn(async move { refused(&connect(&url, 1).await).await });
    let result = result.await;
    raw.run("SET GLOBAL read_only = OFF").await?;
    let (backend, hint) = result??;
    assert!(backend.contains("read-only"), "{backend}");
    assert!(hint.contains("primary"), "{hint}");
    assert!(matches!(late, Err(Error::Unsupported { .. })), "{late:?}");

    // Who was refused is let in, and who was there before is none the worse.
    another.dlock(name()).await?.release().await?;
    assert!(before.is_held());
    Ok(before.release().await?)
}

/// Behind one address was this server, and then is the other.
pub(crate) async fn a_server_of_the_other_kind_is_not_taken_for_the_same<S: Server>() -> Outcome {
    let proxy = Switch::to(&url::<S>()).await?;
    let db = connect(&proxy.url(), 1).await;
    let pool = LockPool::builder(&db).max_locks_per_session(1).install();
    let held = pool.dlock(name()).await?;
    proxy.aim(&url::<S::Other>())?;

    // As long as there is a session that holds, it carries on.
    let further = pool.dlock(name()).timeout(PATIENCE).await?;
    assert!(pool.status().counters.sessions_refused > 0);
    assert_eq!(pool.status().sessions, 1);
    further.release().await?;
    held.release().await?;

    let mut raw = Raw::on::<S>().await?;
    kill(&mut raw, &pool).await?;
    let (backend, hint) = refused(&db).await?;
    assert!(
        backend.contains("MariaDB") && backend.contains("MySQL"),
        "{backend}"
    );
    assert!(hint.contains("restart") || hint.contains("anew"), "{hint}");

    // The first is used again, and a new pool takes the other for what it is.
    proxy.aim(&url::<S>())?;
    pool.dlock(name()).await?.release().await?;
    proxy.aim(&url::<S::Other>())?;
    let anew = LockPool::builder(&db).build();
    Ok(anew.dlock(name()).await?.release().await?)
}

/// Ends the sessions of a pool, by what it lists of itself.
async fn kill(raw: &mut Raw, pool: &LockPool) -> Outcome {
    let guard = pool.dlock(name()).timeout(PATIENCE).await?;
    let holder = raw.holder(&guard.physical_key().to_string()).await?;
    let holder = holder.ok_or_else(|| Failure::new("nobody holds it"))?;
    raw.run(&format!("KILL {holder}")).await?;
    soon("the loss", guard.lost()).await?;
    let gone = async || Ok(pool.status().sessions == 0);
    eventually("no session is left", gone).await
}
