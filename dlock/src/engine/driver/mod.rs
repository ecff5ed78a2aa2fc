//! Runs the [machine](super::machine): the mutex around it, a task for each session, timers, and
//! the channels to callers.
//!
//! * Session tasks pull their [jobs](super::machine::Job), so that a batch has all that has come in
//!   until its session is free.
//! * Under the mutex the state changes and commands are turned into [`effects`]: senders, wakers,
//!   flags of loss. They are carried out after it.
//! * A reply owns its [`Grant`]: one that no caller receives releases the lock as it is dropped.
//! * Only a session's own task closes its socket, after the loss of its grants was flagged.

mod alarm;
mod callers;
mod effects;
mod exclusion;
mod grant;
mod inline;
mod inline_locks;
mod inline_task;
mod keeper;
mod questions;
mod roster;
mod run;
mod session;
mod session_signals;
mod shared;
mod signals;
mod start;
mod task_end;
mod tasks;
mod waiting;
mod warnings;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::alarm::A_YEAR;
pub(crate) use self::alarm::within;
pub(crate) use self::callers::Refusal;
use self::effects::Effects;
pub(crate) use self::grant::{Grant, Loss};
use self::roster::OwnCensus;
pub(crate) use self::roster::OwnTask;
use self::shared::Shared;
pub(crate) use self::signals::Refusals;
pub(crate) use self::signals::Signals;
pub(crate) use self::waiting::Waiting;
pub(crate) use self::warnings::warned;
use super::Counters;
use super::machine::{Census, Event, Job, SessionId, Settings, Time};
use crate::backend::{Backend, Closed, SessionError};
use crate::error::{Error, HeldBy};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// A session stays open for at most this long after its guards were told of their loss, so that
/// they can react before another client gets the lock.
pub(crate) const LOSS_GRACE: Duration = Duration::from_secs(1);

/// The locks of one pool on the sessions that they share.
pub(crate) struct Engine {
    shared: Mutex<Shared>,
    backend: Arc<dyn Backend>,
    /// What a session may take to reply.
    reply_timeout: Duration,
    began: Instant,
    application_closed: Option<tokio::sync::Mutex<Closed>>,
    signals: Signals,
    /// A task has ended.
    task_ended: Notify,
    wake_keeper: Notify,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        settings: Settings,
        runtime: Option<Handle>,
        application_closed: Option<Closed>,
    ) -> Arc<Self> {
        Arc::new(Self {
            reply_timeout: settings.silence,
            shared: Mutex::new(Shared::new(settings, runtime)),
            backend,
            began: Instant::now(),
            application_closed: application_closed.map(tokio::sync::Mutex::new),
            signals: Signals::default(),
            task_ended: Notify::new(),
            wake_keeper: Notify::new(),
        })
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub(crate) fn reply_timeout(&self) -> Duration {
        self.reply_timeout
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// How much there is of what, on the shared sessions and on those of one lock each.
    pub(crate) fn census(self: &Arc<Self>) -> (Census, OwnCensus) {
        self.with(|shared, _, _| (shared.machine.census(), shared.roster.census()))
    }

    /// Counts what has happened outside of the machine.
    pub(crate) fn count(self: &Arc<Self>, what: impl FnOnce(&mut Counters)) {
        self.with(|shared, _, _| shared.machine.count(what));
    }

    /// Whether any session is open.
    pub(crate) fn has_session(self: &Arc<Self>) -> bool {
        self.with(|shared, _, _| shared.machine.has_session())
    }

    /// The holder that keeps a request of this mode waiting, as far as it is known.
    pub(crate) fn held_by(self: &Arc<Self>, key: &PhysicalKey, mode: Mode) -> Option<HeldBy> {
        self.with(|shared, now, _| shared.held_by(key, mode, now))
    }

    /// Requests are refused from now on, and sessions end with their last lock.
    pub(crate) fn begin_close(self: &Arc<Self>) {
        if self.signals.set_closing() {
            self.report(Event::Close);
            self.task_ended.notify_waiters();
        }
    }

    /// The guards that are left lose their locks.
    pub(crate) fn abandon(self: &Arc<Self>) {
        self.with(|shared, now, effects| shared.abandon(now, effects));
        self.signals.set_abandoned();
    }

    /// Waits until the last task has ended, after [`begin_close`](Self::begin_close).
    pub(crate) async fn drained(self: &Arc<Self>) {
        loop {
            let ended = self.task_ended.notified();
            if self.with(|shared, _, _| shared.is_drained()) {
                return;
            }
            ended.await;
        }
    }

    /// A session, by its `number` on the server, got an answer of another one: the guards of the
    /// pool lose their locks, and its waiters and the next requests get this error. `session` is
    /// `None` where the machine does not know it. A session that was lost before changes nothing.
    pub(crate) fn refuse(self: &Arc<Self>, session: Option<SessionId>, number: i64, error: &Error) {
        let is_known = self.with(|shared, now, effects| {
            let is_known = session.is_none_or(|id| shared.tasks.has(id));
            let error = error.clone();
            shared.handle(Event::Refused { session, error }, now, effects);
            is_known
        });
        if is_known {
            tracing::error!(session = number, %error, "dlock: lock pool refused");
            self.signals.set_refused(error);
        }
    }

    /// A further session could not be opened. When it was on another server than the others, these
    /// have to prove that theirs still answers.
    pub(crate) fn settle_dispute(self: &Arc<Self>) {
        if self.backend.is_disputed() {
            self.report(Event::Disputed);
        }
    }

    /// The event changes the machine.
    fn report(self: &Arc<Self>, event: Event) {
        self.with(|shared, now, effects| shared.handle(event, now, effects));
    }

    /// What this session does next.
    fn next(self: &Arc<Self>, id: SessionId) -> Job {
        self.with(|shared, now, effects| shared.next(id, now, effects))
    }

    /// Reports an event, and returns what this session does next.
    fn report_and_go_on(self: &Arc<Self>, event: Event, id: SessionId) -> Job {
        self.with(|shared, now, effects| {
            shared.handle(event, now, effects);
            shared.next(id, now, effects)
        })
    }

    fn instant(&self, time: Time) -> Instant {
        // A clock cannot hold every duration.
        let instant = self.began.checked_add(time);
        instant.unwrap_or_else(|| Instant::now() + A_YEAR)
    }

    /// A session could not be opened, for this reason.
    fn log_refused_session(error: &Error) {
        if !matches!(error, Error::PoolClosed) {
            let cause = cause(error);
            tracing::warn!(%error, cause, "dlock: session refused");
        }
    }

    /// As a bug in the machine would.
    #[cfg(test)]
    pub(crate) fn panic_inside(self: &Arc<Self>) {
        let broken = catch_unwind(AssertUnwindSafe(|| self.with(|_, _, _| panic!("a test"))));
        assert!(broken.is_err());
    }

    /// One change of the state, and afterwards, outside of the mutex, its effects.
    ///
    /// # Panics
    ///
    /// When the machine panics, which is a bug: every guard has reported its loss by then, and the
    /// pool is closed.
    fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut Shared, Time, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.began.elapsed();
            let changed = AssertUnwindSafe(|| change(&mut shared, now, &mut effects));
            let result = catch_unwind(changed);
            if result.is_err() {
                shared.break_down(&mut effects);
            }
            shared.set_timer(&mut effects);
            result
        };
        effects.carry_out(self);
        result.unwrap_or_else(|panic| {
            tracing::error!("dlock: BUG: the state of a lock pool is broken, and the pool closed");
            self.begin_close();
            resume_unwind(panic)
        })
    }
}

/// Why an error came about, for the log.
fn cause(error: &Error) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

/// The error of a session that could not be opened.
fn connect_error(failure: SessionError) -> Error {
    failure.of(crate::error::Phase::Connect)
}
