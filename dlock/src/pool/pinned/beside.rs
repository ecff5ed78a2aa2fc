//! Pinned locks where no server session holds locks: a connection for the holder's work, beside a lock like any other.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hold::{GRACE, UntilRuntimeEnds};
use super::task::{LastWord, Task, confirm, refuse};
use super::{Order, PinnedGrant};
use crate::error::{Error, Phase};
use crate::pool::queue::{Link, Refusal};
use crate::pool::registry::Guest;
use crate::pool::worker::FAREWELL;
use crate::pool::{Acquiring, Grant, LockPool};
use crate::wait::Wait;

/// A connection that `is_private` ends with the lock.
pub(super) async fn serve(
    task: &Task,
    mut order: Order,
    connection: DatabaseConnection,
    is_private: bool,
) -> Option<LastWord> {
    let core = Arc::clone(&task.core);
    // The deadline is the caller's.
    let wait = Wait {
        deadline: None,
        quiet: true,
        ..order.wait
    };
    core.with(|state, _| state.pinned_queued(task.id, true));
    let acquiring = Acquiring::new(Arc::clone(&core), order.mode, wait);
    let acquired = tokio::select! {
        () = order.reply.closed() => return None,
        acquired = acquiring.finish(&order.name) => acquired,
    };
    core.with(|state, _| state.pinned_queued(task.id, false));
    let refusal = match acquired {
        Ok(Some(grant)) => return hold(order, connection, is_private, grant).await,
        Ok(None) => Refusal::Busy,
        Err(error) => Refusal::Failed(error),
    };
    Some(refuse(order, refusal))
}

async fn hold(
    order: Order,
    connection: DatabaseConnection,
    is_private: bool,
    grant: Grant,
) -> Option<LastWord> {
    let work = Work::new(is_private.then(|| connection.clone()), order.pool);
    let number = grant.session();
    // Declared first, so dropped after `lost`: a guard whose channel is closed finds the cause set.
    let (done, mut is_done) = oneshot::channel();
    let (lost, link) = Link::open(number);
    let lost = UntilRuntimeEnds(lost);
    let pinned = PinnedGrant {
        key: grant.key().clone(),
        link,
        connection,
        done,
    };
    // A caller that is gone drops the grant, which is a release.
    drop(order.reply.send(Ok(pinned)));
    let answer = tokio::select! {
        biased;
        answer = &mut is_done => answer.ok(),
        () = grant.lost() => {
            lost.0.send_replace(Some(grant.link().loss_cause()));
            drop(is_done);
            work.end_soon();
            drop(timeout(FAREWELL, lost.0.closed()).await);
            return None;
        }
    };
    // What is still at work goes on under the lock, which nothing here can end.
    let mut ending = pin!(work.end());
    if timeout(GRACE, &mut ending).await.is_err() {
        let error = Phase::Release.failed(DbErr::Custom(AT_WORK.to_owned()));
        tracing::warn!(session = number, key = %order.name, %error, "dlock: release failed");
        answer.map(|answer| answer.send(Err(error)));
        tokio::select! {
            () = ending => {}
            () = grant.lost() => {}
        }
        return None;
    }
    let released = grant.release().await;
    let released = released.map_err(|cause| Error::lost(&order.name, cause));
    confirm(answer, released)
}

const AT_WORK: &str = "a transaction or statement is still at work on the pinned connection: the lock is free when that ends";

/// The connection for the holder's work, if it is the lock's own: nothing begins on it when this is gone.
struct Work(Option<(DatabaseConnection, Guest)>);

impl Work {
    fn new(connection: Option<DatabaseConnection>, pool: LockPool) -> Self {
        Self(connection.map(|connection| (connection.clone(), Guest::new(connection, pool))))
    }

    /// Waits for what is at work.
    async fn end(&self) {
        if let Some((connection, _)) = &self.0 {
            // An error at its end is the end, too.
            drop(connection.close_by_ref().await);
        }
    }

    /// Nothing can begin any more.
    fn end_soon(&self) {
        let mut context = Context::from_waker(Waker::noop());
        let _ = pin!(self.end()).poll(&mut context);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.end_soon();
    }
}
