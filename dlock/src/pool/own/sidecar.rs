//! Pinned locks where no server session holds locks: a connection for the holder's work, beside a
//! lock like any other.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Waker};

use sea_orm::{DatabaseConnection, DbErr};
use tokio::time::timeout;

use super::guard_side::{GRACE, GuardSide};
use super::reply::{FinalReply, confirm, refuse};
use super::{Order, Purpose, Wish};
use crate::backend::Request;
use crate::engine::{Grant, OwnTask, Refusal};
use crate::error::{Error, Phase};
use crate::key::Key;
use crate::mode::Mode;
use crate::pool::core::Core;
use crate::pool::registry::Guest;
use crate::wait::Wait;

/// A connection that `is_private` ends with the lock.
pub(super) async fn serve(
    task: &OwnTask,
    mut order: Order,
    connection: DatabaseConnection,
    is_private: bool,
) -> Option<FinalReply> {
    let Order {
        core,
        name,
        mode,
        wait,
        reply,
        ..
    } = &mut order;
    task.set_in_line(true);
    let acquired = tokio::select! {
        () = reply.closed() => return None,
        acquired = acquire(core, name, *mode, *wait) => acquired,
    };
    task.set_in_line(false);
    match acquired {
        Ok(grant) => hold(order, connection, is_private, grant).await,
        Err(refusal) => Some(refuse(order, refusal)),
    }
}

async fn acquire(core: &Core, name: &Key, mode: Mode, wait: Wait) -> Result<Grant, Refusal> {
    // The deadline is the caller's.
    let wait = Wait {
        deadline: None,
        quiet: true,
        ..wait
    };
    let key = core.physical_key_warned(name, wait).await?;
    let mut waiting = core.engine.acquire(name, key, mode, wait);
    let answer = poll_fn(|context| waiting.poll_answer(context)).await;
    // The runtime ends, and this task with it.
    answer.unwrap_or(Err(Refusal::from(Error::NoRuntime)))
}

async fn hold(
    order: Order,
    connection: DatabaseConnection,
    is_private: bool,
    lock: Grant,
) -> Option<FinalReply> {
    let Order {
        core,
        name,
        mode,
        purpose,
        reply,
        ..
    } = order;
    let work = Work::new(is_private.then(|| connection.clone()), purpose);
    let number = lock.session();
    let request = Request {
        key: lock.key().clone(),
        mode,
    };
    let (mut guard, grant) = GuardSide::new(core, &request, number, Some(connection));
    // A caller that is gone drops the grant, which is a release.
    drop(reply.send(Ok(grant)));
    let answer = tokio::select! {
        biased;
        wish = guard.wishes.recv() => match wish {
            Some(Wish::Release(answer)) => Some(answer),
            Some(Wish::Upgrade(_)) | None => None,
        },
        () = lock.loss().wait() => {
            work.end_soon();
            guard.lose(lock.loss().cause()).await;
            return None;
        }
    };
    // What is still at work goes on under the lock, which nothing here can end.
    let mut ending = pin!(work.end());
    if timeout(GRACE, &mut ending).await.is_err() {
        let error = Phase::Release.failed(DbErr::Custom(AT_WORK.to_owned()));
        tracing::warn!(session = number, key = %name, %error, "dlock: release failed");
        answer.map(|answer| answer.send(Err(error)));
        tokio::select! {
            () = ending => {}
            () = lock.loss().wait() => {}
        }
        return None;
    }
    let released = lock.release().await;
    let released = released.map_err(|cause| Error::lost(&name, cause));
    confirm(answer, released)
}

const AT_WORK: &str = "a transaction or statement is still at work on the pinned connection: the lock is free when that ends";

/// The connection for the holder's work, if it is the lock's own: nothing begins on it when this is
/// gone.
struct Work(Option<(DatabaseConnection, Guest)>);

impl Work {
    fn new(connection: Option<DatabaseConnection>, purpose: Purpose) -> Self {
        Self(match (connection, purpose) {
            (Some(connection), Purpose::Pin(pool)) => {
                Some((connection.clone(), Guest::new(connection, pool)))
            }
            _ => None,
        })
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
