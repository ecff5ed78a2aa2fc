//! `model.with_lock(..)`: lock, BEGIN, the row read anew, body, COMMIT, unlock, in this order.

use std::sync::Arc;
use std::time::Duration;

use dlock::prelude::*;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, Set,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{OrmBackend, Outcome, Scene, soon, waiting};

/// A table for each behaviour, since they run side by side.
macro_rules! accounts {
    ($($module:ident in $table:tt)*) => {
        $(mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub(super) struct Model {
                #[sea_orm(primary_key, auto_increment = false)]
                pub(super) id: i32,
                #[sea_orm(primary_key, auto_increment = false)]
                pub(super) currency: String,
                pub(super) amount: i64,
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub(super) enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}

            pub(super) fn euros() -> Model {
                let currency = "EUR".to_owned();
                Model { id: 7, currency, amount: 0 }
            }
        })*
    };
}
accounts! {
    raised in "dlock_account_raised"
    stale in "dlock_account_stale"
    gone in "dlock_account_gone"
    failing in "dlock_account_failing"
    panicking in "dlock_account_panicking"
    written in "dlock_account_written"
}

/// With an account of euros, and one beside it.
async fn create<E: EntityTrait>(db: &DatabaseConnection, _: E) -> Result<(), DbErr> {
    let table = E::default().table_name();
    for statement in [
        format!("DROP TABLE IF EXISTS {table}"),
        format!(
            "CREATE TABLE {table} (id INT NOT NULL, currency VARCHAR(3) NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (id, currency))"
        ),
        format!("INSERT INTO {table} VALUES (7, 'CHF', 0), (7, 'EUR', 0)"),
    ] {
        db.execute_unprepared(&statement).await?;
    }
    Ok(())
}

async fn remove<E: EntityTrait>(db: &DatabaseConnection, _: E) -> Outcome {
    let drop = format!("DROP TABLE {}", E::default().table_name());
    soon("the table", db.execute_unprepared(&drop)).await??;
    Ok(())
}

/// Whoever read the row before he had the lock, or had the lock before the last one's commit, would write an old amount. Those who work on another row are in nobody's way.
pub(crate) async fn rows_lose_no_update<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    create(&ours, raised::Entity).await?;
    scene
        .backend
        .slow_commits("dlock_account_raised", 2)
        .await?;
    let mut raising: JoinSet<Result<(), DbErr>> = JoinSet::new();
    for task in 0..8 {
        let db = if task % 2 == 0 { &ours } else { &theirs }.clone();
        raising.spawn(async move {
            let mut account = raised::euros();
            if task / 2 % 2 == 0 {
                account.currency = "CHF".to_owned();
            }
            for _ in 0..20 {
                let raise = account.with_lock(&db, async |txn, account: raised::Model| {
                    let amount = Set(account.amount + 1);
                    sleep(Duration::from_millis(1)).await;
                    let mut account = account.into_active_model();
                    account.amount = amount;
                    account.update(txn).await?;
                    Ok::<_, DbErr>(())
                });
                raise.await?;
            }
            Ok(())
        });
    }
    for raised in raising.join_all().await {
        raised?;
    }
    let find = |currency: &str| raised::Entity::find_by_id((7, currency.to_owned())).one(&ours);
    assert_eq!(find("EUR").await?.map(|account| account.amount), Some(80));
    assert_eq!(find("CHF").await?.map(|account| account.amount), Some(80));
    remove(&ours, raised::Entity).await
}

pub(crate) async fn a_stale_model_is_read_anew<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    create(&ours, stale::Entity).await?;
    let account = stale::euros();
    let guard = account.dlock(&theirs).await?;
    let waiter = tokio::spawn({
        let (db, account) = (ours.clone(), account.clone());
        async move {
            let amount = account.with_lock(&db, async |_, account| Ok::<_, DbErr>(account.amount));
            amount.await
        }
    });
    waiting(&ours, 1).await?;
    let mut change = account.into_active_model();
    change.amount = Set(42);
    change.update(&theirs).await?;
    guard.release().await?;
    assert_eq!(soon("the amount", waiter).await???, 42);
    remove(&ours, stale::Entity).await
}

pub(crate) async fn a_row_that_is_gone_is_not_found_and_its_lock_free<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    create(&ours, gone::Entity).await?;
    let account = gone::euros();
    gone::Entity::delete_by_id((7, "EUR".to_owned()))
        .exec(&theirs)
        .await?;
    let missing = account.with_lock(&ours, async |_, account| {
        panic!("there is none: {account:?}");
        #[allow(unreachable_code, reason = "it says what the body returns")]
        Ok::<(), DbErr>(())
    });
    let missing = missing.await.expect_err("there is none");
    let name = "dlock_account_gone/7,EUR".to_owned();
    assert_eq!(missing, DbErr::RecordNotFound(name));
    drop(soon("the lock", account.dlock(&theirs)).await??);
    remove(&ours, gone::Entity).await
}

pub(crate) async fn a_failing_body_leaves_the_row_and_frees_its_lock<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    create(&ours, failing::Entity).await?;
    let account = failing::euros();
    let failed = account.with_lock(&ours, async |txn, account| {
        let mut account = account.into_active_model();
        account.amount = Set(42);
        account.update(txn).await?;
        Err::<(), _>(DbErr::Custom("part of the test".to_owned()))
    });
    let error = failed.await.expect_err("the body fails");
    assert_eq!(error, DbErr::Custom("part of the test".to_owned()));
    let amount = soon(
        "the lock",
        account.with_lock(&theirs, async |_, account| Ok::<_, DbErr>(account.amount)),
    );
    assert_eq!(amount.await??, 0);
    remove(&ours, failing::Entity).await
}

pub(crate) async fn a_panicking_body_leaves_the_row_and_frees_its_lock<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    create(&ours, panicking::Entity).await?;
    let task = tokio::spawn({
        let db = ours.clone();
        async move {
            let account = panicking::euros();
            let panicked = account.with_lock(&db, async |txn, account| {
                let mut account = account.into_active_model();
                account.amount = Set(42);
                account.update(txn).await?;
                panic!("this panic is part of the test");
                #[allow(unreachable_code, reason = "it says what the body returns")]
                Ok::<(), DbErr>(())
            });
            panicked.await
        }
    });
    assert!(task.await.is_err_and(|error| error.is_panic()));
    let amount = panicking::euros();
    let amount = soon(
        "the lock",
        amount.with_lock(&theirs, async |_, account| Ok::<_, DbErr>(account.amount)),
    );
    assert_eq!(amount.await??, 0);
    drop(ours);
    remove(&theirs, panicking::Entity).await
}

/// The caller goes away while COMMIT is on its way, which lasts for a while where that can be had.
pub(crate) async fn what_a_body_wrote_is_there_before_the_lock_is_free<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db("theirs").await);
    create(&ours, written::Entity).await?;
    scene
        .backend
        .slow_commits("dlock_account_written", 150)
        .await?;
    for round in 1..=5 {
        let wrote = Arc::new(Notify::new());
        let task = tokio::spawn({
            let (db, wrote) = (ours.clone(), Arc::clone(&wrote));
            async move {
                let account = written::euros();
                let body = account.with_lock(&db, async |txn, account| {
                    let mut account = account.into_active_model();
                    account.amount = Set(round);
                    account.update(txn).await?;
                    wrote.notify_one();
                    Ok::<_, DbErr>(())
                });
                body.await
            }
        });
        soon("the body", wrote.notified()).await?;
        sleep(Duration::from_millis(50)).await;
        task.abort();
        let account = written::euros();
        let guard = soon("the lock", account.dlock(&theirs)).await??;
        let account = written::Entity::find_by_id((7, "EUR".to_owned()));
        let amount = account.one(&theirs).await?.map(|account| account.amount);
        assert_eq!(amount, Some(round));
        guard.release().await?;
    }
    remove(&theirs, written::Entity).await
}
