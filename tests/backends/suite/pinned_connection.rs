//! A pinned guard serves wherever SeaORM takes a connection.

use dlock::{DLockExt, PinnedGuard};
use futures_util::TryStreamExt;
use sea_orm::entity::prelude::*;
use sea_orm::{
    AccessMode, ActiveValue, DatabaseTransaction, DbBackend, ExprTrait, IsolationLevel, Schema,
    StreamTrait, TransactionError, TransactionOptions, TransactionTrait,
};

use super::{Failure, OrmBackend, Outcome, Scene, soon};

const fn is_free<T: Send + Sync + 'static>() {}
const _: () = is_free::<PinnedGuard>();

mod invoice {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pinned_invoice")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: i64,
        pub(super) total: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use invoice::{ActiveModel, Column, Entity, Model};

/// One table for all tests.
async fn create_table(db: &DatabaseConnection) -> Outcome {
    let schema = Schema::new(db.get_database_backend());
    let mut create = schema.create_table_from_entity(Entity);
    // Two who do that at once may see each other's half on PostgreSQL.
    if db.execute(create.if_not_exists()).await.is_err() {
        db.execute(&create).await?;
    }
    Ok(())
}

fn invoice(id: i64, total: i64) -> ActiveModel {
    ActiveModel {
        id: ActiveValue::Set(id),
        total: ActiveValue::Set(total),
    }
}

pub(crate) async fn a_pinned_guard_finds_inserts_updates_and_deletes<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    create_table(&db).await?;
    let id = scene.key();
    let guard = db.dlock(id).pinned().await?;
    assert_eq!(Entity::find_by_id(id).one(&guard).await?, None);
    let inserted = invoice(id, 10).insert(&guard).await?;
    assert_eq!(inserted, Model { id, total: 10 });
    let mut changed: ActiveModel = inserted.into();
    changed.total = ActiveValue::Set(11);
    assert_eq!(changed.update(&guard).await?.total, 11);
    let many = Entity::update_many().col_expr(Column::Total, Expr::value(12_i64));
    let many = many.filter(Column::Id.eq(id)).exec(&guard).await?;
    assert_eq!(many.rows_affected, 1);
    let mine = || Entity::find().filter(Column::Id.eq(id));
    assert_eq!(mine().all(&guard).await?, [Model { id, total: 12 }]);
    assert_eq!(mine().count(&guard).await?, 1);
    assert_eq!(mine().paginate(&guard, 10).num_pages().await?, 1);
    assert_eq!(
        Entity::find_by_id(id).one(&db).await?,
        Some(Model { id, total: 12 })
    );
    assert_eq!(
        Entity::delete_by_id(id).exec(&guard).await?.rows_affected,
        1
    );
    Ok(guard.release().await?)
}

pub(crate) async fn a_pinned_guard_begins_transactions_of_all_kinds<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    create_table(&db).await?;
    let id = scene.key();
    let guard = db.dlock(id).pinned().await?;
    let total =
        async || Ok::<_, DbErr>(Entity::find_by_id(id).one(&db).await?.map(|row| row.total));

    let done = guard.transaction(|txn| {
        Box::pin(async move {
            invoice(id, 1).insert(txn).await?;
            Ok::<_, DbErr>("done")
        })
    });
    assert_eq!(done.await.map_err(failure)?, "done");
    assert_eq!(total().await?, Some(1));

    let failed = guard.transaction(|txn| {
        Box::pin(async move {
            raise(id, txn).await?;
            Err::<(), _>(DbErr::Custom("part of the test".to_owned()))
        })
    });
    assert!(matches!(
        failed.await,
        Err(TransactionError::Transaction(_))
    ));
    assert_eq!(total().await?, Some(1));

    let isolation =
        (db.get_database_backend() != DbBackend::Sqlite).then_some(IsolationLevel::Serializable);
    let access = isolation.map(|_| AccessMode::ReadWrite);
    let done = guard.transaction_with_config(
        |txn| Box::pin(async move { raise(id, txn).await }),
        isolation,
        access,
    );
    done.await.map_err(failure)?;
    assert_eq!(total().await?, Some(2));

    let txn = guard.begin_with_config(isolation, access).await?;
    raise(id, &txn).await?;
    // A savepoint.
    let inner = txn.begin().await?;
    raise(id, &inner).await?;
    inner.rollback().await?;
    txn.commit().await?;
    let txn = guard
        .begin_with_options(TransactionOptions::default())
        .await?;
    raise(id, &txn).await?;
    drop(txn);
    assert_eq!(total().await?, Some(3));
    Entity::delete_by_id(id).exec(&guard).await?;
    Ok(guard.release().await?)
}

async fn raise(id: i64, txn: &DatabaseTransaction) -> Result<(), DbErr> {
    let raise = Entity::update_many().col_expr(Column::Total, Expr::col(Column::Total).add(1));
    raise.filter(Column::Id.eq(id)).exec(txn).await.map(drop)
}

fn failure(error: TransactionError<DbErr>) -> Failure {
    Failure::new(error.to_string())
}

pub(crate) async fn a_pinned_guard_streams<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    create_table(&db).await?;
    let ids = scene.keys(30);
    let guard = db.dlock(ids[0]).pinned().await?;
    let rows = ids.iter().map(|id| invoice(*id, 7));
    Entity::insert_many(rows).exec(&guard).await?;
    let mine = || Entity::find().filter(Column::Id.is_in(ids.iter().copied()));
    let all: Vec<Model> = mine().stream(&guard).await?.try_collect().await?;
    assert_eq!(all.len(), 30);
    // One that is left in the middle is in nobody's way.
    let mut some = mine().stream(&guard).await?;
    assert!(some.try_next().await?.is_some());
    drop(some);
    let txn = guard.begin().await?;
    let all: Vec<Model> = mine().stream(&txn).await?.try_collect().await?;
    assert_eq!(all.len(), 30);
    txn.rollback().await?;
    assert_eq!(
        StreamTrait::get_database_backend(&guard),
        db.get_database_backend()
    );
    let gone = Entity::delete_many().filter(Column::Id.is_in(ids.iter().copied()));
    assert_eq!(gone.exec(&guard).await?.rows_affected, 30);
    Ok(guard.release().await?)
}

pub(crate) async fn a_pinned_guard_works_in_spawned_tasks<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    create_table(&db).await?;
    let id = scene.key();
    let task = tokio::spawn(async move {
        let guard = db.dlock(id).pinned().await?;
        let working = tokio::spawn(async move {
            invoice(id, 1).insert(&guard).await?;
            let txn = guard.begin().await?;
            raise(id, &txn).await?;
            txn.commit().await?;
            Ok::<_, DbErr>(guard)
        });
        let guard = working
            .await
            .map_err(|error| DbErr::Custom(error.to_string()))??;
        // As what is generic takes it.
        let total = read(id, &guard).await?;
        let ran = db.dlock(-id).pinned().run(async |other| {
            Entity::delete_by_id(id).exec(other).await?;
            Ok::<_, DbErr>(other.key().clone())
        });
        assert_eq!(ran.await?, (-id).into());
        guard.release().await?;
        Ok::<_, DbErr>(total)
    });
    assert_eq!(
        soon("the task", task).await??.map_err(Failure::from)?,
        Some(2)
    );
    Ok(())
}

async fn read<C: ConnectionTrait + TransactionTrait>(
    id: i64,
    db: &C,
) -> Result<Option<i64>, DbErr> {
    Ok(Entity::find_by_id(id).one(db).await?.map(|row| row.total))
}
