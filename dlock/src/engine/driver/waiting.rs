//! A caller's place in the line of a key. Dropping it leaves the line, or gives back what came.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::Engine;
use super::callers::{Refusal, Request};
use super::grant::Grant;
use super::warnings::next_warning;
use crate::engine::machine::Ticket;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// A request for a lock that was handed in.
#[derive(Debug)]
pub(crate) struct Waiting {
    engine: Arc<Engine>,
    state: State,
}

#[derive(Debug)]
enum State {
    Answered(Result<Grant, Refusal>),
    Pending(Ticket, oneshot::Receiver<Result<Grant, Refusal>>),
    /// The answer was taken.
    Over,
}

/// The pool's runtime has ended: the request is to be handed in once more.
#[derive(Debug)]
pub(crate) struct Restart;

impl Waiting {
    /// Not to be polled after an answer.
    pub(crate) fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Result<Grant, Refusal>, Restart>> {
        if let State::Pending(_, answer) = &mut self.state {
            let answer = ready!(Pin::new(answer).poll(context));
            self.state = State::Over;
            return Poll::Ready(answer.map_err(|_sender_gone| Restart));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Answered(answer) => Poll::Ready(Ok(answer)),
            State::Pending(..) | State::Over => panic!("a request was polled after its answer"),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let State::Pending(ticket, _) = self.state {
            self.engine
                .with(|shared, now, effects| shared.cancel(ticket, now, effects));
            // A grant that was sent before is dropped with its receiver, which releases it.
        }
    }
}

impl Engine {
    /// Hands in a request for a lock.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        name: &Key,
        key: PhysicalKey,
        mode: Mode,
        wait: Wait,
    ) -> Waiting {
        let request = Request {
            key,
            mode,
            since: wait.since,
            next_warning: (!wait.quiet).then(|| next_warning(wait.since, wait.since)),
        };
        let answer = self.with(|shared, now, effects| {
            shared.acquire(name, request, wait, self.began, now, effects)
        });
        let state = match answer {
            Ok(answer) => {
                State::Answered(answer.map(|granted| Grant::new(Arc::clone(self), granted)))
            }
            Err((ticket, answer)) => State::Pending(ticket, answer),
        };
        let engine = Arc::clone(self);
        Waiting { engine, state }
    }
}
