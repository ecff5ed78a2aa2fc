//! Where a name counts: on the whole server, whatever the database.

use dlock::{DLockExt, Key, LockPool};
use dlock_tests::connect;
use sea_orm::sqlx::ConnectOptions;

use super::Server;
use super::raw::{Raw, name, options, url};
use crate::suite::{Outcome, PATIENCE};

pub(crate) async fn two_databases_on_one_server_share_its_locks<S: Server>() -> Outcome {
    let mut raw = Raw::on::<S>().await?;
    let (database, text) = (name(), name());
    raw.run(&format!("CREATE DATABASE {database}")).await?;
    let elsewhere = options(&url::<S>())?.database(&database).to_url_lossy();
    let (here, there) = (
        connect(&url::<S>(), 1).await,
        connect(elsewhere.as_str(), 1).await,
    );
    let guard = there.dlock(&text).await?;
    assert!(here.dlock(&text).try_acquire().await?.is_none());

    // What keeps them apart.
    let staging = LockPool::builder(&here).namespace("staging").build();
    let other = staging.dlock(&text).timeout(PATIENCE).await?;
    assert_eq!(other.physical_key().to_string(), format!("staging:{text}"));
    assert!(!raw.can_lock(&format!("staging:{text}")).await?);
    other.release().await?;
    guard.release().await?;
    there.close().await?;
    raw.run(&format!("DROP DATABASE {database}")).await
}

pub(crate) async fn no_database_is_as_good_as_any<S: Server>() -> Outcome {
    let nowhere = url::<S>();
    let (server, _database) = nowhere.rsplit_once('/').unwrap_or_default();
    let (here, there) = (connect(&url::<S>(), 1).await, connect(server, 1).await);
    let text = name();
    let guard = there.dlock(&text).await?;
    assert!(here.dlock(&text).try_acquire().await?.is_none());
    Ok(guard.release().await?)
}

pub(crate) async fn a_namespace_is_a_prefix_of_the_name<S: Server>() -> Outcome {
    let db = connect(&url::<S>(), 1).await;
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
