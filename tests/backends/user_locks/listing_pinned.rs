//! Pinned locks in the listing of their pool, by whatever name the server shows them.

use dlock::{DLockExt, LockPool};

use super::first_lock::names;
use super::{Scene, Server};
use crate::suite::Outcome;

/// Folded, cut, or hashed.
pub(crate) async fn a_pinned_lock_is_listed_under_its_own_name<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let db = scene.db_of("ours", 1).await;
    let capitals = format!("{} CAPITALS", scene.name);
    let mut missing = Vec::new();
    for text in names().into_iter().chain([capitals]) {
        let guard = db.dlock(&text).pinned().await?;
        let listed = LockPool::of(&db).locks().await?;
        let mut mine = listed.iter();
        let name = Some(text.as_str().into());
        if !mine.any(|lock| lock.granted && lock.key == *guard.physical_key() && lock.name == name)
        {
            missing.push(text);
        }
        guard.release().await?;
    }
    assert!(missing.is_empty(), "not listed: {missing:?}");
    Ok(())
}
