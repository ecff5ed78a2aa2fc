//! What the types promise: futures that can be spawned, guards that can be sent and shared.

use dlock::{DLockExt, DLockGuard, LockPool};
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};

use super::statement::work;
use super::{Backend, OrmBackend, Outcome, Scene, is_unsupported};

const fn is_free<T: Send + Sync + 'static>() {}
const _: () = is_free::<DLockGuard>();
const _: () = is_free::<LockPool>();
const _: () = is_free::<dlock::Error>();
const _: () = is_free::<dlock::Key>();

pub(crate) async fn locks_work_in_spawned_tasks<B: Backend>(scene: &Scene<B>) -> Outcome {
    let (db, key) = (scene.db("ours").await, scene.key());
    let text = format!("{} text", scene.name);
    let task = tokio::spawn(async move {
        let guard = db.dlock(key).await?;
        guard.release().await?;
        let guard = db.dlock(text).acquire().await?;
        let watched = tokio::spawn(async move {
            let guard = guard;
            tokio::select! {
                () = guard.lost() => false,
                () = tokio::task::yield_now() => guard.is_held(),
            }
        });
        assert!(
            watched
                .await
                .map_err(|error| DbErr::Custom(error.to_string()))?
        );

        let run = db.dlock(key).run(async |lock| {
            work(&db).await?;
            Ok::<_, DbErr>(lock.key().clone())
        });
        assert_eq!(run.await?, key.into());
        Ok::<_, DbErr>(())
    });
    Ok(task.await??)
}

pub(crate) async fn transactions_work_in_spawned_tasks<B: OrmBackend>(scene: &Scene<B>) -> Outcome {
    let (db, key) = (scene.db("ours").await, scene.key());
    let task = tokio::spawn(async move {
        let number = db.dlock(key).transaction(async |txn| {
            txn.execute_unprepared("SELECT 1").await?;
            Ok::<_, DbErr>(1)
        });
        assert_eq!(number.await?, 1);
        let txn = db.begin().await?;
        if !B::XACT {
            return is_unsupported(&txn.dlock(key).xact().await);
        }
        txn.dlock(key).xact().await?;
        assert!(txn.dlock(key).xact().try_acquire().await?);
        Ok(txn.commit().await?)
    });
    task.await?
}
