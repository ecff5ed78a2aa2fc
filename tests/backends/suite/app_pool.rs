//! Locks do not take the application's connections.

use std::time::Duration;

use dlock::DLockExt;
use sea_orm::{ConnectionTrait, DbErr};
use tokio::task::JoinSet;

use super::{OrmBackend, Outcome, Scene, soon};

const HANDLERS: usize = 50;

pub(crate) async fn fifty_handlers_share_two_connections<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 2).await;
    let (own, common) = (scene.keys(HANDLERS), scene.key());
    let mut handlers: JoinSet<Result<(), DbErr>> = JoinSet::new();
    for own in own {
        let db = db.clone();
        handlers.spawn(async move {
            let work = db.dlock(own).run(async |_lock| {
                db.execute_unprepared("SELECT 1").await?;
                let nested = db
                    .dlock(common)
                    .run(async |_lock| db.execute_unprepared("SELECT 1").await);
                nested.await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
                db.execute_unprepared("SELECT 1").await?;
                Ok(())
            });
            work.await
        });
    }
    for handled in soon("the handlers", handlers.join_all()).await? {
        handled?;
    }
    Ok(())
}

pub(crate) async fn fifty_transactions_share_two_connections<B: OrmBackend>(
    scene: &Scene<B>,
) -> Outcome {
    let db = scene.db_of("ours", 2).await;
    let keys = scene.keys(5);
    let mut handlers: JoinSet<Result<(), DbErr>> = JoinSet::new();
    for handler in 0..HANDLERS {
        let (db, key) = (db.clone(), keys[handler % keys.len()]);
        handlers.spawn(async move {
            let work = db.dlock(key).transaction(async |txn| {
                txn.execute_unprepared("SELECT 1").await?;
                Ok(())
            });
            work.await
        });
    }
    for handled in soon("the transactions", handlers.join_all()).await? {
        handled?;
    }
    Ok(())
}
