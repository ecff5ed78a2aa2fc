//! Rows of SeaORM's entities: one lock for each, whoever names it, and however.

use std::time::Duration;

use dlock::prelude::*;
use dlock::{Error, Key, Lockable};
use dlock_tests::Db;
use sea_orm::TransactionTrait;

use super::{Backend, OrmBackend, Outcome, PATIENCE, Scene, is_unsupported, soon, waiting};

mod invoice {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "dlock_invoice")]
    pub(super) struct Model {
        #[sea_orm(primary_key)]
        pub(super) id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// In a schema, and with a key of two parts.
mod price {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(schema_name = "dlock_shop", table_name = "dlock_price")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) invoice: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) article: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What a new invoice is called.
async fn name<B: Backend>(scene: &Scene<B>, db: &B::Db, id: i64) -> Outcome<String> {
    let database = scene.backend.database(db).await?;
    Ok(format!("{database}.dlock_invoice/{id}"))
}

async fn is_free(db: &impl Db, key: impl Into<Key>) -> Outcome<bool> {
    Ok(db.dlock(key).try_acquire().await?.is_some())
}

pub(crate) async fn a_model_its_entity_and_its_name_are_one_lock<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let id = scene.key();
    let model = invoice::Model { id };
    let name = name(scene, &theirs, id).await?;
    for lock in [
        model.dlock(&ours),
        invoice::Entity::dlock(&ours, id),
        ours.dlock(&name),
    ] {
        let guard = lock.await?;
        assert!(model.dlock(&theirs).try_acquire().await?.is_none());
        let by_id = invoice::Entity::dlock(&theirs, id);
        assert!(by_id.try_acquire().await?.is_none());
        assert!(!is_free(&theirs, &name).await?);
        assert!(!is_free(&theirs, guard.key()).await?);
        let another = invoice::Entity::dlock(&theirs, id ^ 1);
        drop(another.try_acquire().await?.expect("it is free"));
        guard.release().await?;
        drop(soon("it is free", theirs.dlock(&name)).await??);
    }
    Ok(())
}

pub(crate) async fn a_row_is_shown_without_its_database<B: Backend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db("ours").await;
    let id = scene.key();
    let guard = invoice::Entity::dlock(&db, id).await?;
    assert_eq!(guard.key().to_string(), format!("dlock_invoice/{id}"));
    let refused = invoice::Entity::dlock(&db, id).timeout(Duration::ZERO);
    let refused = refused.await.expect_err("it is held");
    assert!(matches!(&refused, Error::Timeout { key, .. } if key == guard.key()));
    let again = db.lock_pool().locks().await?;
    let ours = again
        .iter()
        .find(|lock| lock.name.as_ref() == Some(guard.key()));
    assert!(ours.is_some(), "{again:?}");
    Ok(guard.release().await?)
}

pub(crate) async fn every_part_of_a_primary_key_counts<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let invoice = scene.key();
    for (article, escaped) in [
        ("nut", "nut"),
        (
            "nuts, 5/8″, 100 %",
            "nuts%2C%205%2F8%E2%80%B3%2C%20100%20%25",
        ),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
        ("", ""),
    ] {
        let model = price::Model {
            invoice,
            article: article.to_owned(),
        };
        let guard = model.dlock(&ours).await?;
        let name = format!("dlock_shop.dlock_price/{invoice},{escaped}");
        assert_eq!(guard.key().to_string(), name);
        assert!(!is_free(&theirs, &name).await?);
        let by_id = price::Entity::dlock(&theirs, (invoice, article.to_owned()));
        assert!(by_id.try_acquire().await?.is_none());
        for another in [
            (invoice ^ 1, article.to_owned()),
            (invoice, format!("{article},")),
        ] {
            let another = price::Entity::dlock(&theirs, another);
            drop(another.try_acquire().await?.expect("it is free"));
        }
        guard.release().await?;
    }
    Ok(())
}

/// It has to ask for the database before it knows the key.
pub(crate) async fn the_first_lock_of_a_pool_may_be_a_row<B: Backend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let fresh = || scene.builder("ours", &db).build();
    let model = invoice::Model { id: scene.key() };
    let pool = fresh();
    let guard = model.dlock(&pool).try_acquire().await?.expect("it is free");
    assert_eq!(pool.status().counters.sessions_opened, 1);
    let limit = Duration::from_millis(200);
    for limit in [limit, Duration::ZERO] {
        let refused = model.dlock(&fresh()).timeout(limit).await;
        assert!(matches!(refused, Err(Error::Timeout { .. })), "{refused:?}");
    }
    assert!(model.dlock(&fresh()).try_acquire().await?.is_none());
    let waiter = {
        let (model, db) = (model.clone(), scene.db("theirs").await);
        tokio::spawn(async move { model.dlock(&db).timeout(PATIENCE).await.map(drop) })
    };
    guard.release().await?;
    Ok(soon("the lock", waiter).await???)
}

pub(crate) async fn the_first_lock_of_a_pool_may_be_a_pinned_row<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let fresh = || scene.builder("ours", &db).build();
    let model = invoice::Model { id: scene.key() };
    let pool = fresh();
    let guard = model.dlock(&pool).pinned().await?;
    let limit = Duration::from_millis(200);
    let refused = model.dlock(&fresh()).pinned().timeout(limit).await;
    assert!(matches!(refused, Err(Error::Timeout { .. })), "{refused:?}");
    let pinned = model.dlock(&fresh()).pinned();
    assert!(pinned.try_acquire().await?.is_none());
    Ok(guard.release().await?)
}

pub(crate) async fn a_timeout_covers_learning_the_database<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let (_listener, url) = scene.silent_server()?;
    let silent = B::Db::open_lazily(&url).await;
    let model = invoice::Model { id: scene.key() };
    let limit = Duration::from_millis(300);
    let late = soon("its end", model.dlock(&silent).timeout(limit)).await?;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    assert_eq!(silent.lock_pool().status().waiters, 0);
    Ok(())
}

pub(crate) async fn a_timeout_of_a_pinned_row_covers_learning_the_database<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (_listener, url) = scene.silent_server()?;
    let silent = B::Db::open_lazily(&url).await;
    let model = invoice::Model { id: scene.key() };
    let late = model.dlock(&silent).pinned();
    let late = late.timeout(Duration::from_millis(300)).into_future();
    let late = soon("its end", late).await?;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    assert_eq!(silent.lock_pool().status().waiters, 0);
    Ok(())
}

pub(crate) async fn a_namespace_is_in_front_of_the_database<B: Backend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db("ours").await;
    let inside = scene.builder("ours", &db).namespace("billing").build();
    let id = scene.key();
    let guard = invoice::Entity::dlock(&inside, id).await?;
    let name = name(scene, &db, id).await?;
    assert!(!is_free(&db, format!("billing:{name}")).await?);
    assert!(is_free(&db, name).await?);
    assert!(
        invoice::Entity::dlock(&db, id)
            .try_acquire()
            .await?
            .is_some()
    );
    Ok(guard.release().await?)
}

pub(crate) async fn a_row_is_held_in_every_way<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let model = invoice::Model { id: scene.key() };
    let name = name(scene, &theirs, model.id).await?;

    let run = model.dlock(&ours).run(async |lock| {
        assert!(theirs.dlock(lock.key()).try_acquire().await?.is_none());
        theirs.dlock(&name).try_acquire().await
    });
    assert!(run.await?.is_none());

    let reader = model.dlock(&ours).shared().await;
    if !B::SHARED {
        return is_unsupported(&reader);
    }
    let reader = reader?;
    let another = model.dlock(&theirs).shared().try_acquire().await?;
    assert!(another.is_some() && !is_free(&theirs, &name).await?);
    Ok(reader.release().await?)
}

pub(crate) async fn a_row_is_held_pinned_and_around_a_transaction<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let model = invoice::Model { id: scene.key() };
    let name = name(scene, &theirs, model.id).await?;

    let pinned = model.dlock(&ours).pinned().await?;
    assert!(!is_free(&theirs, &name).await?);
    assert!(!is_free(&theirs, pinned.key()).await?);
    pinned.release().await?;

    let transaction = model
        .dlock(&ours)
        .transaction(async |_| theirs.dlock(&name).try_acquire().await);
    assert!(transaction.await?.is_none());
    Ok(())
}

pub(crate) async fn a_transaction_holds_a_row_against_everybody<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    let model = invoice::Model { id: scene.key() };
    let name = name(scene, &theirs, model.id).await?;
    let txn = ours.begin().await?;
    if !B::XACT {
        let refused = model.dlock(&txn).xact().await;
        txn.rollback().await?;
        return is_unsupported(&refused);
    }
    model.dlock(&txn).xact().await?;
    assert!(model.dlock(&theirs).try_acquire().await?.is_none());
    assert!(!is_free(&theirs, &name).await?);
    let waiter = {
        let (model, db) = (model.clone(), theirs.clone());
        tokio::spawn(async move { model.dlock(&db).timeout(PATIENCE).await })
    };
    waiting(&theirs, 1).await?;
    txn.commit().await?;
    let guard = soon("the lock", waiter).await???;

    let txn = ours.begin().await?;
    assert!(
        !invoice::Entity::dlock(&txn, model.id)
            .xact()
            .try_acquire()
            .await?
    );
    let limit = Duration::from_millis(50);
    let late = model.dlock(&txn).xact().timeout(limit).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    guard.release().await?;
    model.dlock(&txn).timeout(PATIENCE).xact().await?;
    Ok(txn.commit().await?)
}
