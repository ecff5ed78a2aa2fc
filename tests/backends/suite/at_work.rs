//! What may be going on on a pinned connection when its guard leaves or its lock is lost.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dlock::{DLockExt, LockPool, PinnedGuard};
use dlock_tests::Counter;
use futures_util::StreamExt;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, Statement, StreamTrait, TransactionTrait,
};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, yield_now};

use super::{Failure, OrmBackend, Outcome, Scene, eventually, in_one_of, soon, waiting};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// That has written.
    Transaction,
    Statement,
    /// Of which the first row was read.
    Stream,
}

impl Work {
    pub(super) const ALL: [Self; 3] = [Self::Transaction, Self::Statement, Self::Stream];

    /// In a task of its own.
    pub(super) async fn begin<B: OrmBackend>(
        self,
        guard: &PinnedGuard,
        counter: &Counter,
    ) -> Outcome<AtWork> {
        let (began, has_begun) = oneshot::channel();
        let go_on = Arc::new(Notify::new());
        let doing = Doing {
            db: (**guard).clone(),
            counter: counter.clone(),
            began,
            go_on: Arc::clone(&go_on),
        };
        let task = tokio::spawn(async move {
            match self {
                Self::Transaction => doing.transaction().await,
                Self::Statement => doing.statement::<B>().await,
                Self::Stream => doing.stream().await,
            }
        });
        soon("the work", has_begun).await??;
        Ok(AtWork { task, go_on })
    }
}

struct Doing {
    db: DatabaseConnection,
    counter: Counter,
    began: oneshot::Sender<()>,
    go_on: Arc<Notify>,
}

impl Doing {
    async fn transaction(self) -> Result<(), DbErr> {
        let txn = self.db.begin().await?;
        self.counter.write(&txn, 9).await?;
        let _ = self.began.send(());
        self.go_on.notified().await;
        txn.commit().await
    }

    /// Where nobody can end it, it ends by itself.
    async fn statement<B: OrmBackend>(self) -> Result<(), DbErr> {
        let long = if B::LOSABLE { 30_000 } else { 1500 };
        let Some(statement) = B::slow_statement(long) else {
            return Err(DbErr::Custom("no statement lasts".to_owned()));
        };
        let mut doing = pin!(self.db.execute_unprepared(&statement));
        tokio::select! {
            biased;
            done = &mut doing => return done.map(drop),
            () = yield_now() => {}
        }
        let _ = self.began.send(());
        doing.await.map(drop)
    }

    async fn stream(self) -> Result<(), DbErr> {
        let numbers = "WITH RECURSIVE step(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < 900) SELECT n FROM step";
        let numbers = Statement::from_string(self.db.get_database_backend(), numbers);
        let mut rows = self.db.stream_raw(numbers).await?;
        let first = rows.next().await;
        first.ok_or_else(|| DbErr::RecordNotFound("the first row".to_owned()))??;
        let _ = self.began.send(());
        self.go_on.notified().await;
        while let Some(row) = rows.next().await {
            row?;
        }
        Ok(())
    }
}

/// Work that goes on until it is told to finish.
pub(super) struct AtWork {
    task: JoinHandle<Result<(), DbErr>>,
    go_on: Arc<Notify>,
}

impl AtWork {
    pub(super) async fn finish(self) -> Outcome<Result<(), DbErr>> {
        self.go_on.notify_one();
        Ok(soon("the end of the work", self.task).await??)
    }
}

/// A guard that is left while its connection is at work: the lock is free soon, by ending the session from outside if need be, and nobody ever sees
/// or meets half of the work. Where a session cannot be ended, the lock stays until the work ends.
pub(super) async fn leave_at_work<B: OrmBackend>(
    scene: &Scene<B>,
    leave: impl AsyncFn(PinnedGuard) -> Outcome,
) -> Outcome {
    let (ours, theirs) = (scene.db("ours").await, scene.db_of("theirs", 1).await);
    let counter = scene.counter(&theirs).await?;
    theirs.execute_unprepared(B::IMPATIENCE).await?;
    for work in Work::ALL {
        in_one_of(3, Duration::from_millis(2500), async || {
            let key = scene.key();
            let guard = ours.dlock(key).pinned().await?;
            let copy = (*guard).clone();
            let at_work = work.begin::<B>(&guard, &counter).await?;
            let next = soon("the lock", theirs.dlock(key).into_future());
            let left = async {
                waiting(&theirs, 1).await?;
                let start = Instant::now();
                leave(guard).await?;
                if B::LOSABLE {
                    return Ok((start, None));
                }
                assert_eq!(scene.held(&[key]).await?, 1);
                let finished = at_work.finish().await?;
                Ok::<_, Failure>((Instant::now(), Some(finished)))
            };
            let (next, left) = tokio::join!(next, left);
            let (start, finished) = left?;
            let next = next??;
            let took = start.elapsed();
            if finished.is_none() {
                assert_eq!(counter.read(&theirs).await?, 0, "{work:?}");
            }
            // Nothing of it holds the row.
            counter.write(&theirs, 0).await?;
            let dead = soon("an error", copy.execute_unprepared("SELECT 1")).await?;
            assert!(dead.is_err(), "{work:?}");
            assert!(copy.begin().await.is_err(), "{work:?}");
            next.release().await?;
            Ok(took)
        })
        .await?;
    }
    eventually("no pinned session is left", async || {
        Ok(LockPool::of(&ours).status().pinned_sessions == 0)
    })
    .await?;
    Ok(soon("the table", counter.remove(&theirs)).await??)
}
