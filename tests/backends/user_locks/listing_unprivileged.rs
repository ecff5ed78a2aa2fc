//! `LockPool::locks()` of an account that may not look into `performance_schema`: it sees what its own pool holds or waits for.

use dlock::{DLockExt, LockPool};
use dlock_tests::connect;
use tokio::task::JoinSet;

use super::listing::only;
use super::options::name;
use super::raw::Raw;
use super::{Scene, Server, UserLocks};
use crate::suite::{Backend, Outcome, PATIENCE};

/// An account that may log in, and nothing else.
struct Unprivileged {
    account: String,
    url: String,
    raw: Raw,
}

impl Unprivileged {
    async fn create<S: Server>(scene: &Scene<S>) -> Outcome<Self> {
        let mut raw = scene.raw().await?;
        let account = name();
        raw.run(&format!("CREATE USER {account}")).await?;
        // It may not see the database of the tests either.
        let url = UserLocks::<S>::named(&scene.url("ours"), &account);
        let (url, _database) = url.rsplit_once('/').unwrap_or_default();
        let url = url.to_owned();
        let denied = "SELECT OBJECT_NAME FROM performance_schema.metadata_locks LIMIT 1";
        assert_eq!(Raw::at(&url).await?.error(denied).await?, 1142);
        Ok(Self { account, url, raw })
    }

    async fn drop(mut self) -> Outcome {
        self.raw.run(&format!("DROP USER {}", self.account)).await
    }
}

pub(crate) async fn an_account_without_privileges_sees_the_keys_of_its_pool<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut unprivileged = Unprivileged::create(scene).await?;
    let db = connect(&unprivileged.url, 1).await;
    let raw = &mut unprivileged.raw;
    let (held, wanted, foreign) = (format!("Key{}", name()), name(), name());
    raw.lock(&wanted).await?;
    raw.lock(&foreign).await?;
    let guard = db.dlock(&held).await?;
    let waiter = tokio::spawn({
        let (db, wanted) = (db.clone(), wanted.clone());
        async move { db.dlock(wanted).timeout(PATIENCE).await }
    });
    raw.until_wanted(&wanted, 1).await?;

    let locks = LockPool::of(&db).locks().await;
    assert!(guard.is_held(), "{locks:?}");
    let locks = locks?;
    let lock = only(&locks, &held, true)?;
    assert_eq!(lock.name, Some(held.as_str().into()));
    assert_eq!(Some(lock.holder.session), raw.holder(&held).await?);
    let account = &unprivileged.account;
    let application = &lock.holder.application;
    assert!(
        application.starts_with(&format!("{account}@127.0.0.1")),
        "{application}"
    );
    let lock = only(&locks, &wanted, true)?;
    assert_eq!(lock.name, Some(wanted.as_str().into()));
    assert_eq!(lock.holder.session, raw.id().await?);
    assert!(only(&locks, &foreign, true).is_err(), "{locks:?}");

    raw.unlock(&wanted).await?;
    waiter.await??.release().await?;
    guard.release().await?;
    assert_eq!(LockPool::of(&db).locks().await?, []);
    assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 0);
    db.close().await?;
    unprivileged.drop().await
}

pub(crate) async fn an_account_without_privileges_sees_hundreds_of_its_keys<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let unprivileged = Unprivileged::create(scene).await?;
    let db = connect(&unprivileged.url, 1).await;
    let mut locks = JoinSet::new();
    for _ in 0..600 {
        let db = db.clone();
        locks.spawn(async move { db.dlock(name()).timeout(PATIENCE).await });
    }
    let guards = locks.join_all().await;
    let guards = guards.into_iter().collect::<Result<Vec<_>, _>>()?;
    let listed = LockPool::of(&db).locks().await?;
    assert_eq!(listed.len(), 600);
    for guard in guards {
        only(&listed, guard.physical_key(), true)?;
        guard.release().await?;
    }
    db.close().await?;
    unprivileged.drop().await
}
