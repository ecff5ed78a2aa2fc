//! A network that goes silent while the holder of a pinned lock is at work. Its statement hangs
//! until its own limits; the release does not.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase, PinnedGuard};
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use tokio::task::JoinSet;

use super::proxy::Fresh;
use super::{Scene, Server};
use crate::suite::{Outcome, elapsed, soon};

/// What the holder of a lock may be doing.
#[derive(Debug, Clone, Copy)]
enum Work {
    Transaction,
    Statement,
}

/// A release waits 500 ms for the holder and 5 s for the end of its session. A busy machine adds
/// the rest.
const LONGEST_RELEASE: Duration = Duration::from_secs(7);

const GRACE: Duration = Duration::from_millis(500);

/// Work that goes on until it is dropped.
struct AtWork {
    _txn: Option<DatabaseTransaction>,
    _statement: JoinSet<()>,
}

impl Work {
    const ALL: [Self; 2] = [Self::Transaction, Self::Statement];

    async fn begin<S: Server>(self, scene: &Scene<S>, guard: &PinnedGuard) -> Outcome<AtWork> {
        let (mut txn, mut statement) = (None, JoinSet::new());
        match self {
            Self::Transaction => txn = Some(guard.begin().await?),
            Self::Statement => {
                let connection = (**guard).clone();
                let sleep = format!("DO SLEEP(60) /* {} */", scene.name);
                let runs = format!(
                    "EXISTS (SELECT * FROM information_schema.processlist WHERE info = '{sleep}')"
                );
                statement.spawn(async move {
                    drop(connection.execute_unprepared(&sleep).await);
                });
                scene.raw().await?.until(&runs).await?;
            }
        }
        Ok(AtWork {
            _txn: txn,
            _statement: statement,
        })
    }
}

/// New connections are silent, too: the session cannot be ended, and the error has the phase
/// release.
pub(crate) async fn a_pinned_release_at_work_into_silence_is_an_error_of_the_release<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    for work in Work::ALL {
        let key = scene.key();
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        // The limits of a release are its own.
        let keepalive = Duration::from_secs(60);
        let pool = LockPool::builder(&db).keepalive(keepalive).install();
        let guard = db.dlock(key).pinned().await?;
        let holder = raw.holder(key).await?.expect("it is held");
        let at_work = work.begin(scene, &guard).await?;
        proxy.fresh(Fresh::Silent);
        proxy.silence().await;
        let (released, took) = elapsed(soon("the answer", guard.release())).await;
        let released = released?;
        assert!(took >= GRACE && took < LONGEST_RELEASE, "{work:?} {took:?}");
        assert!(
            matches!(
                released,
                Err(Error::Database {
                    phase: Phase::Release,
                    ..
                })
            ),
            "{work:?} {released:?}"
        );
        // The server knows nothing of the silence.
        assert_eq!(raw.holder(key).await?, Some(holder), "{work:?}");
        drop(at_work);
        let limit = Duration::from_millis(100);
        soon("the end of the pool", pool.close_timeout(limit)).await?;
        raw.kill("CONNECTION", holder).await;
        raw.until_free(key).await?;
    }
    Ok(())
}

/// Only this connection is silent, as behind a NAT that has forgotten it: a new one ends the
/// session.
pub(crate) async fn a_pinned_release_at_work_on_a_silent_connection_frees_the_lock<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    for work in Work::ALL {
        let key = scene.key();
        let proxy = scene.proxy().await?;
        let db = proxy.db();
        let guard = db.dlock(key).pinned().await?;
        let at_work = work.begin(scene, &guard).await?;
        proxy.silence().await;
        let (released, took) = elapsed(soon("the answer", guard.release())).await;
        released??;
        assert!(took >= GRACE && took < LONGEST_RELEASE, "{work:?} {took:?}");
        assert_eq!(raw.holder(key).await?, None, "{work:?}");
        let again = soon("the lock", db.dlock(key).pinned().into_future()).await??;
        again.release().await?;
        drop(at_work);
    }
    Ok(())
}
