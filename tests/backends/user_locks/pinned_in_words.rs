//! Transactions that the holder of a pinned lock begins in words, of which SeaORM and sqlx know nothing.

use dlock::DLockExt;
use sea_orm::ConnectionTrait;

use super::{Scene, Server};
use crate::suite::{Failure, Outcome};

/// Begun in words, or by `autocommit = 0`: who waits for the lock on the server looks at the row with the next statement.
pub(crate) async fn a_transaction_in_words_is_over_when_the_server_gives_the_lock_on<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db("ours").await;
    let counter = scene.counter(&db).await?;
    let (mut next, mut admin, mut held_up) = (scene.raw().await?, scene.raw().await?, 0);
    for begin in ["BEGIN", "SET autocommit = 0"].into_iter().cycle().take(10) {
        let key = scene.key();
        let guard = db.dlock(key).pinned().await?;
        guard.execute_unprepared(begin).await?;
        counter.write(&guard, 7).await?;
        let look = format!("SELECT n FROM {} FOR UPDATE NOWAIT", counter.table());
        let looking = async {
            next.lock(key).await?;
            let free = next.row(&look).await.is_ok();
            next.unlock(key).await?;
            Ok::<_, Failure>(free)
        };
        let releasing = async {
            admin.until_wanted(key, 1).await?;
            Ok::<_, Failure>(guard.release().await?)
        };
        let (free, released) = tokio::join!(looking, releasing);
        released?;
        held_up += usize::from(!free?);
    }
    counter.remove(&db).await?;
    assert_eq!(held_up, 0, "of 10");
    Ok(())
}
