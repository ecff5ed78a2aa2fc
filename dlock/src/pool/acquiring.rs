//! A request for a lock, from its start to its grant, without a box of its own. Dropping it leaves
//! the line of the key.

use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep_until};

use super::core::{Core, MAX_RUNTIMES};
use super::grant::Grant;
use super::log_end;
use super::own::{self, OwnGrant, Purpose};
use crate::engine::{Waiting, warned};
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// Waits in the line of a key. `None`: one try was asked for, and another holder has the lock.
pub(crate) struct Acquiring {
    core: Arc<Core>,
    mode: Mode,
    wait: Wait,
    stage: Stage,
    /// Begun when the request has to wait.
    deadline: Option<Pin<Box<Sleep>>>,
    /// A runtime may end under it.
    runtimes: Range<usize>,
}

enum Stage {
    Begin,
    /// The server must be known before the key can be.
    Meet(Pin<Box<dyn Future<Output = Result<PhysicalKey, Error>> + Send>>),
    Line(Waiting),
    Own(Own),
    End,
}

/// A request for a lock on a session of its own.
struct Own {
    asking: Pin<Box<dyn Future<Output = Result<Option<OwnGrant>, Error>> + Send>>,
    /// Whether its session is open.
    is_open: Arc<AtomicBool>,
}

impl fmt::Debug for Acquiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring")
            .field("mode", &self.mode)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl Acquiring {
    pub(super) fn new(core: Arc<Core>, mode: Mode, wait: Wait) -> Self {
        Self {
            core,
            mode,
            wait,
            stage: Stage::Begin,
            deadline: None,
            runtimes: 0..MAX_RUNTIMES,
        }
    }

    /// [`poll`](Self::poll) as a future.
    pub(super) async fn finish(mut self, name: &Key) -> Result<Option<Grant>, Error> {
        poll_fn(|context| self.poll(name, context)).await
    }

    /// Each time with the same name.
    ///
    /// # Panics
    ///
    /// After its end, like any future.
    pub(crate) fn poll(
        &mut self,
        name: &Key,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Grant>, Error>> {
        let answer = match self.proceed(name, context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => Err(ready!(self.poll_deadline(name, context))),
        };
        // A reply that is on its way is given back.
        self.stage = Stage::End;
        if !self.wait.quiet {
            log_end(name, self.mode, self.wait, &answer, |grant| {
                Some(grant.session())
            });
        }
        Poll::Ready(answer)
    }

    fn poll_deadline(&mut self, name: &Key, context: &mut Context<'_>) -> Poll<Error> {
        let Some(deadline) = self.wait.deadline else {
            return Poll::Pending;
        };
        let begin = || Box::pin(sleep_until(deadline));
        ready!(
            self.deadline
                .get_or_insert_with(begin)
                .as_mut()
                .poll(context)
        );
        self.core.engine.count(|counters| counters.timeouts += 1);
        Poll::Ready(self.timed_out(name))
    }

    /// The error of a request that ended without the lock.
    pub(crate) fn timed_out(&self, name: &Key) -> Error {
        let awaits_session = match &self.stage {
            Stage::Own(own) => !own.is_open.load(Ordering::Relaxed),
            _ => !self.core.engine.has_session(),
        };
        self.core
            .timed_out(name, self.mode, self.wait, awaits_session)
    }

    fn proceed(
        &mut self,
        name: &Key,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Grant>, Error>> {
        loop {
            match &mut self.stage {
                Stage::Begin => {
                    self.core.backend().rules().check(self.mode)?;
                    if self.mode == Mode::Update {
                        self.stage = Stage::Own(self.ask_own(name)?);
                        continue;
                    }
                    match self.core.try_physical_key(name)? {
                        Some(key) => self.enter_line(name, key)?,
                        None => {
                            let core = Arc::clone(&self.core);
                            let (name, wait) = (name.clone(), self.wait);
                            self.stage = Stage::Meet(Box::pin(async move {
                                core.physical_key_warned(&name, wait).await
                            }));
                        }
                    }
                }
                Stage::Meet(meeting) => {
                    let key = ready!(meeting.as_mut().poll(context))?;
                    self.enter_line(name, key)?;
                }
                Stage::Line(waiting) => match ready!(waiting.poll_answer(context)) {
                    Ok(Ok(grant)) => return Poll::Ready(Ok(Some(Grant::Pooled(grant)))),
                    Ok(Err(refusal)) => return Poll::Ready(refusal.tell(name)),
                    // The pool's runtime has ended: the next turn starts it on ours.
                    Err(_restart) => self.stage = Stage::Begin,
                },
                Stage::Own(own) => {
                    let answer = ready!(own.asking.as_mut().poll(context));
                    return Poll::Ready(
                        answer.map(|grant| grant.map(|own| Grant::Own(Box::new(own)))),
                    );
                }
                Stage::End => panic!("a request for a lock was polled after its end"),
            }
        }
    }

    /// A lock that can be upgraded waits on the server, which needs a session that holds nothing
    /// else.
    fn ask_own(&self, name: &Key) -> Result<Own, Error> {
        self.core.try_physical_key(name)?;
        let is_open = Arc::<AtomicBool>::default();
        let (core, name, mode, wait) = (Arc::clone(&self.core), name.clone(), self.mode, self.wait);
        let opened = Arc::clone(&is_open);
        let asking = Box::pin(async move {
            let purpose = Purpose::Upgrade;
            let asking = own::ask(Arc::clone(&core), purpose, name.clone(), mode, wait, opened);
            warned(pin!(asking), &name, wait, || core.held_by(&name, mode)).await
        });
        Ok(Own { asking, is_open })
    }

    fn enter_line(&mut self, name: &Key, key: PhysicalKey) -> Result<(), Error> {
        self.runtimes.next().ok_or(Error::NoRuntime)?;
        let waiting = self.core.engine.acquire(name, key, self.mode, self.wait);
        self.stage = Stage::Line(waiting);
        Ok(())
    }
}
