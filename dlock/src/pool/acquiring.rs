//! A request for a lock, from its start to its grant, without a box of its own. Dropping it leaves the queue.

use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep_until};

use super::core::{Core, MAX_RUNTIMES};
use super::state::State;
use super::ticket::{Grant, Ticket};
use super::{tell, warned};
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// Waits in the queue of a key. `None`: one try was asked for, and somebody else has the lock.
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
    Queue(Ticket),
    End,
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
    pub(crate) fn new(core: Arc<Core>, mode: Mode, wait: Wait) -> Self {
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
    pub(crate) async fn finish(mut self, name: &Key) -> Result<Option<Grant>, Error> {
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
        // Whatever is on its way is given back.
        self.stage = Stage::End;
        if !self.wait.quiet {
            tell(name, self.mode, self.wait, &answer, |grant| {
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
        self.core.with(|state, _| state.counters.timeouts += 1);
        Poll::Ready(self.timed_out(name))
    }

    /// The error of a request that ended without the lock.
    pub(crate) fn timed_out(&self, name: &Key) -> Error {
        let awaits_session = |state: &State| !state.has_session();
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
                    self.core.backend.rules().check(self.mode)?;
                    match self.core.try_physical_key(name)? {
                        Some(key) => self.enqueue(name, key)?,
                        None => {
                            let (core, name, wait) =
                                (Arc::clone(&self.core), name.clone(), self.wait);
                            self.stage = Stage::Meet(Box::pin(async move {
                                let meeting = pin!(core.physical_key(&name));
                                match wait.quiet {
                                    true => meeting.await,
                                    false => warned(meeting, &name, wait, || None).await,
                                }
                            }));
                        }
                    }
                }
                Stage::Meet(meeting) => {
                    let key = ready!(meeting.as_mut().poll(context))?;
                    self.enqueue(name, key)?;
                }
                Stage::Queue(ticket) => match ready!(ticket.poll_answer(context)) {
                    Ok(Ok(grant)) => return Poll::Ready(Ok(Some(grant))),
                    Ok(Err(refusal)) => return Poll::Ready(refusal.tell(name)),
                    // The pool's runtime has ended: the next turn starts it on ours.
                    Err(_channel_gone) => self.stage = Stage::Begin,
                },
                Stage::End => panic!("a request for a lock was polled after its end"),
            }
        }
    }

    fn enqueue(&mut self, name: &Key, key: PhysicalKey) -> Result<(), Error> {
        self.runtimes.next().ok_or(Error::NoRuntime)?;
        let ticket = Ticket::draw(&self.core, name, key, self.mode, self.wait)?;
        self.stage = Stage::Queue(ticket);
        Ok(())
    }
}
