//! Rows of entities, whose names begin with the database that the server is in, not the one that the application asked for.

use dlock::prelude::*;
use dlock::{DLock, Error};
use sea_orm::DatabaseConnection;

use super::options::{lazy, name, options, with_hook};
use super::{Scene, Server};
use crate::invoices::invoices;
use crate::suite::Outcome;

invoices! {
    invoice(table_name = "invoice")
    in_schema(schema_name = "dlock_shop", table_name = "invoice")
}

fn lock(db: &DatabaseConnection, id: i64) -> DLock<'_, DatabaseConnection> {
    invoice::Entity::dlock(db, id)
}

pub(crate) async fn a_row_is_in_the_database_that_a_hook_selects<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let database = format!("{}-ä.b", name());
    raw.run(&format!("CREATE DATABASE `{database}`")).await?;
    let url = options(&scene.url("ours"))?;
    let by_option = lazy(url.clone().database(&database));
    let by_hook = with_hook(format!("USE `{database}`"));
    let by_hook = DatabaseConnection::from(by_hook.connect_lazy_with(url.clone()));
    let elsewhere = lazy(url);
    let id = scene.key();
    for (one, other) in [(&by_option, &by_hook), (&by_hook, &by_option)] {
        let guard = lock(one, id).await?;
        assert!(lock(other, id).try_acquire().await?.is_none());
        assert!(lock(other, id).pinned().try_acquire().await?.is_none());
        assert!(lock(&elsewhere, id).try_acquire().await?.is_some());
        let plain = database.replace("-ä.b", "-%C3%A4%2Eb");
        let physical = guard.physical_key().to_string();
        assert!(physical.len() == 64 || physical == format!("{plain}.invoice/{id}"));
        let written = format!("{plain}.invoice/{id}");
        assert!(elsewhere.dlock(written).try_acquire().await?.is_none());
        guard.release().await?;
    }
    raw.run(&format!("DROP DATABASE `{database}`")).await
}

pub(crate) async fn where_no_database_is_selected_a_row_needs_its_schema<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let url = scene.url("nowhere");
    let (server, _database) = url.rsplit_once('/').unwrap_or_default();
    let nowhere = lazy(options(server)?);
    let id = scene.key();
    for refused in [
        lock(&nowhere, id).await.map(drop),
        lock(&nowhere, id).try_acquire().await.map(drop),
        lock(&nowhere, id).pinned().await.map(drop),
    ] {
        let Err(Error::InvalidKey { key, reason }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(key, format!("invoice/{id}"));
        assert!(reason.contains("schema_name"), "{reason}");
    }
    let here = scene.db_of("ours", 1).await;
    let guard = in_schema::Entity::dlock(&nowhere, id).await?;
    let again = in_schema::Entity::dlock(&here, id);
    assert!(again.try_acquire().await?.is_none());
    Ok(guard.release().await?)
}

/// A row there is another row.
pub(crate) async fn a_session_that_is_in_another_database_is_refused<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let database = name();
    raw.run(&format!("CREATE DATABASE {database}")).await?;
    let url = options(&scene.url("ours"))?;
    let db = lazy(url.clone());
    let id = scene.key();
    lock(&db, id).await?.release().await?;
    let pool = db.get_mysql_connection_pool();
    pool.set_connect_options(url.database(&database));
    scene.kill_sessions("ours").await?;
    let refused = loop {
        match lock(&db, id).await {
            // By the session that does not know of its end yet.
            Ok(guard) => drop(guard),
            Err(error) => break error,
        }
    };
    let Error::Refused { found, .. } = refused else {
        panic!("{refused:?}");
    };
    assert!(found.contains("another database"), "{found}");
    raw.run(&format!("DROP DATABASE {database}")).await
}
