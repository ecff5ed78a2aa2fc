//! Where a name counts: on the whole server, whatever the database.

use dlock::{DLockExt, Key, LockPool};
use dlock_tests::connect;
use sea_orm::sqlx::ConnectOptions;

use super::options::{name, options};
use super::{Scene, Server};
use crate::suite::Outcome;

pub(crate) async fn two_databases_on_one_server_share_its_locks<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let (database, text) = (name(), name());
    raw.run(&format!("CREATE DATABASE {database}")).await?;
    let elsewhere = options(&scene.url("ours"))?
        .database(&database)
        .to_url_lossy();
    let (here, there) = (
        scene.db_of("ours", 1).await,
        connect(elsewhere.as_str(), 1).await,
    );
    let guard = there.dlock(&text).await?;
    assert!(here.dlock(&text).try_acquire().await?.is_none());
    guard.release().await?;
    there.close().await?;
    raw.run(&format!("DROP DATABASE {database}")).await
}

pub(crate) async fn no_database_is_as_good_as_any<S: Server>(scene: &Scene<S>) -> Outcome {
    let nowhere = scene.url("nowhere");
    let (server, _database) = nowhere.rsplit_once('/').unwrap_or_default();
    let (here, there) = (scene.db_of("ours", 1).await, connect(server, 1).await);
    let text = name();
    let guard = there.dlock(&text).await?;
    assert!(here.dlock(&text).try_acquire().await?.is_none());
    Ok(guard.release().await?)
}

pub(crate) async fn a_namespace_is_a_prefix_of_the_name<S: Server>(scene: &Scene<S>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let billing = name();
    let inside = LockPool::builder(&db).namespace(&billing).build();
    for (key, text) in [
        (Key::from("invoice"), "invoice"),
        (Key::from(42_i64), "42"),
        (Key::from(&b"bytes"[..]), "bytes"),
    ] {
        let guard = inside.dlock(&key).await?;
        let name = format!("{billing}:{text}");
        assert_eq!(guard.physical_key().to_string(), name);
        assert!(db.dlock(&name).try_acquire().await?.is_none());
        guard.release().await?;
        let again = db.dlock(&name).try_acquire().await?;
        again.expect("it is free").release().await?;
    }
    Ok(())
}
