//! `txn.dlock(key).xact()`: a lock that ends with the caller's transaction. It needs no session of ours.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::Once;
use std::task::{Context, Poll};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement};
use tokio::time::{Instant, sleep};
use tracing::{Dispatch, dispatcher};

use crate::backend::{
    self, DeadlockCheck, TransactionLocks, TransactionOutcome, failed_in_transaction,
};
use crate::error::{Error, HeldBy, Phase};
use crate::key::{CurrentDatabase, Key, KeyRepr, PhysicalKey};
use crate::mode::Mode;
use crate::pool::DLock;
use crate::pool::{LockPool, has_namespace, log_end, warned};
use crate::wait::Wait;

/// Between two waits in which the server looks for deadlocks. A member of a cycle can miss the look
/// of another one only in the moment between two of its own waits.
const BETWEEN_DEADLOCK_CHECKS: Duration = Duration::from_secs(10);

/// How long the server may wait in one statement. `deadlock_timeout` makes most of them shorter.
const LONGEST_SLICE: Duration = Duration::from_secs(10);

/// How long after its deadline the answer of the server may come.
const GRACE: Duration = Duration::from_millis(200);

/// Where the server cannot wait without an error.
const POLL: Duration = Duration::from_millis(50);

/// A lock that its transaction holds until it commits or rolls back. There is no guard, and no way to release it earlier.
///
/// A transaction that already holds the lock gets it again. `ROLLBACK TO` a savepoint from before the lock releases it.
///
/// On REPEATABLE READ and above the lock's own statement fixes the snapshot, before it waits: what the previous holder committed meanwhile is not seen.
/// Use READ COMMITTED, or `db.dlock(key).transaction(..)`, which locks first and begins then.
#[derive(Debug)]
#[must_use = "a lock does nothing unless it is awaited"]
pub struct TransactionLock<'a> {
    txn: &'a DatabaseTransaction,
    key: Key,
    mode: Mode,
    timeout: Option<Duration>,
    /// The pool that supplies namespace and default timeout.
    settings: Option<LockPool>,
}

impl<'a> TransactionLock<'a> {
    pub(super) fn new(lock: DLock<'a, DatabaseTransaction>) -> Self {
        Self {
            txn: lock.on,
            key: lock.key,
            mode: lock.mode,
            timeout: lock.timeout,
            settings: lock.settings,
        }
    }

    /// Many transactions at once, as long as none holds it exclusively.
    pub fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    /// Gives up after this long. Zero means one try.
    ///
    /// Without it the [`default_timeout`](crate::LockPoolBuilder::default_timeout) of [`settings_of`](DLock::settings_of) counts, or the wait has no end but for the server's
    /// deadlock detection.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits without end; see [`DLock::no_timeout`].
    pub fn no_timeout(self) -> Self {
        self.timeout(Duration::MAX)
    }

    /// Waits for the lock; the same as `.await`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] and [`Error::Deadlock`] leave the transaction usable, with all that it held before. [`Error::Unsupported`] where the database has no
    /// such locks, [`Error::InvalidKey`], and [`Error::Database`] when a statement fails, after which PostgreSQL accepts only a rollback.
    ///
    /// # Cancel safety
    ///
    /// The transaction stays usable; it may hold the lock or not. Its next statement waits for the end of the current one, which lasts up to half a second longer than
    /// [`deadlock_timeout`](https://www.postgresql.org/docs/current/runtime-config-locks.html), which is 1 s by default, and at most 10 s.
    pub async fn acquire(self) -> Result<(), Error> {
        let default_timeout = match &self.settings {
            Some(pool) => pool.config()?.default_timeout,
            None => None,
        };
        let wait = Wait::start(self.timeout.or(default_timeout));
        let patience = Wait {
            deadline: wait.deadline.map(|deadline| deadline + GRACE),
            ..wait
        };
        let waiting = async { patience.bound(self.wait(wait)).await.unwrap_or(Ok(false)) };
        let granted = warned(pin!(waiting), &self.key, wait, || self.held_by()).await;
        let granted = granted.and_then(|granted| match granted {
            true => Ok(Some(())),
            false => Err(Error::Timeout {
                waited: wait.since.elapsed(),
                key: self.key.clone(),
                held_by: self.held_by(),
            }),
        });
        log_end(&self.key, self.mode, wait, &granted, |()| None);
        granted.map(drop)
    }

    /// A guard of the pool whose settings count may be in the way of its own process.
    fn held_by(&self) -> Option<HeldBy> {
        self.settings.as_ref()?.held_by(&self.key, self.mode)
    }

    /// One try: `false` when another transaction or session holds the lock.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire) but for `Timeout` and `Deadlock`.
    ///
    /// # Cancel safety
    ///
    /// The transaction stays usable; it may hold the lock or not.
    pub async fn try_acquire(self) -> Result<bool, Error> {
        let wait = Wait::once(None);
        let tried = self.wait(wait).await;
        let granted = tried.map(|granted| granted.then_some(()));
        log_end(&self.key, self.mode, wait, &granted, |()| None);
        granted.map(|granted| granted.is_some())
    }

    async fn wait(&self, wait: Wait) -> Result<bool, Error> {
        let locks = backend::transaction_locks(self.txn.get_database_backend())?;
        locks.rules().check(self.mode)?;
        let key = self.physical_key(locks).await?;
        let try_lock = || self.outcome(locks.try_lock(&key, self.mode));
        if try_lock().await? {
            return Ok(true);
        }
        if wait.one_try {
            return Ok(false);
        }
        let can_wait = self.rows(locks.can_wait()).await? == 1;
        let mut next_deadlock_check = Instant::now();
        while wait
            .deadline
            .is_none_or(|deadline| Instant::now() < deadline)
        {
            let left = wait.remaining().unwrap_or(Duration::MAX);
            let granted = if can_wait {
                let slice = left.min(LONGEST_SLICE);
                let is_due = next_deadlock_check <= Instant::now();
                let deadlocks = match is_due {
                    true => DeadlockCheck::Wanted,
                    false => DeadlockCheck::Unwanted,
                };
                let question = locks.wait(&key, self.mode, slice, deadlocks);
                let granted = unlogged(self.outcome(question)).await?;
                if is_due {
                    next_deadlock_check = Instant::now() + BETWEEN_DEADLOCK_CHECKS;
                }
                granted
            } else {
                sleep(left.min(POLL)).await;
                try_lock().await?
            };
            if granted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn physical_key(&self, locks: &dyn TransactionLocks) -> Result<PhysicalKey, Error> {
        let key = self.whole_key(locks).await?;
        // The key itself is checked, too: a namespace makes nothing valid.
        let plain = locks.physical_key(&key)?;
        let Some(pool) = &self.settings else {
            self.warn_of_namespace(locks.rules().database);
            return Ok(plain);
        };
        match &pool.config()?.namespace {
            Some(namespace) => locks.physical_key(&key.within(namespace)),
            None => Ok(plain),
        }
    }

    /// Once in the life of a process.
    fn warn_of_namespace(&self, backend: &'static str) {
        static WARNED: Once = Once::new();
        if WARNED.is_completed() || !has_namespace(backend) {
            return;
        }
        WARNED.call_once(|| {
            let key = &self.key;
            tracing::warn!(
                %key,
                "dlock: a lock of a transaction is outside of the namespace of a lock pool of this \
                 process: `txn.dlock(key).settings_of(&db).xact()` takes it over"
            );
        });
    }

    /// The transaction is asked for its database where the key is a row of it.
    async fn whole_key(&self, locks: &dyn TransactionLocks) -> Result<Cow<'_, KeyRepr>, Error> {
        if let Some(key) = self.key.repr(|| CurrentDatabase::Unknown)? {
            return Ok(key);
        }
        let database = self.database(locks).await?;
        let key = self.key.repr(|| database)?;
        Ok(key.expect("BUG: the database is known"))
    }

    async fn database(&self, locks: &dyn TransactionLocks) -> Result<CurrentDatabase, Error> {
        let backend = self.txn.get_database_backend();
        let question = Statement::from_string(backend, locks.database());
        let answer = async {
            let row = self.txn.query_one_raw(question).await?;
            let name: Option<String> = match row {
                Some(row) => row.try_get("", "database")?,
                None => None,
            };
            Ok(name)
        };
        let name = answer.await.map_err(failed_in_transaction)?;
        Ok(CurrentDatabase::named(name))
    }

    /// Whether the lock is held after this try or wait.
    async fn outcome(&self, question: String) -> Result<bool, Error> {
        let rows = self.rows(question).await?;
        match TransactionOutcome::from_rows(rows).ok_or_else(|| unexpected(rows))? {
            TransactionOutcome::Granted => Ok(true),
            TransactionOutcome::Busy => Ok(false),
            TransactionOutcome::Deadlock => Err(Error::Deadlock {
                key: self.key.clone(),
            }),
            TransactionOutcome::Standby => Err(STANDBY),
        }
    }

    /// By the simple protocol, whose answer is a number of rows.
    async fn rows(&self, question: String) -> Result<u64, Error> {
        let answer = self.txn.execute_unprepared(&question).await;
        answer
            .map(|answer| answer.rows_affected())
            .map_err(failed_in_transaction)
    }
}

/// A wait that is kept from the subscriber of `tracing`, since sqlx would warn of a slow statement.
/// An application without a subscriber still gets the warning by the `log` crate: setting one here,
/// even for a moment, would end `tracing`'s records for `log`.
struct Unlogged<F>(Option<Pin<Box<F>>>);

fn unlogged<F: Future>(wait: F) -> Unlogged<F> {
    Unlogged(Some(Box::pin(wait)))
}

fn without_subscriber<T>(act: impl FnOnce() -> T) -> T {
    match dispatcher::has_been_set() {
        true => dispatcher::with_default(&Dispatch::none(), act),
        false => act(),
    }
}

impl<F: Future> Future for Unlogged<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let wait = self.0.as_mut().expect("BUG: it is not dropped yet");
        without_subscriber(|| wait.as_mut().poll(context))
    }
}

/// sqlx warns when a statement is dropped, too.
impl<F> Drop for Unlogged<F> {
    fn drop(&mut self) {
        without_subscriber(|| drop(self.0.take()));
    }
}

const STANDBY: Error = Error::refused(
    "a transaction on a hot standby",
    "the primary",
    "begin the transaction on the primary: locks of a standby exclude no session of the primary",
);

fn unexpected(rows: u64) -> Error {
    let outcome = format!("unexpected outcome of a try or wait: {rows} rows");
    Phase::Acquire.failed(DbErr::Custom(outcome))
}

impl<'a> IntoFuture for TransactionLock<'a> {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.acquire())
    }
}
