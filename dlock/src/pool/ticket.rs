//! A caller's place in a queue, and its part of a grant. Dropping either gives back whatever it stands for; neither owns a socket.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::{Core, MAX_RUNTIMES, NO_RUNTIME};
use super::demand::Reply;
use super::queue::{Granted, HoldId, Link, Refusal, TicketId};
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// One lock on one hold; gives it back when it is dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    core: Arc<Core>,
    key: PhysicalKey,
    hold: HoldId,
    link: Arc<Link>,
    released: bool,
}

impl Grant {
    pub(crate) fn key(&self) -> &PhysicalKey {
        &self.key
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.link.is_lost()
    }

    pub(crate) async fn lost(&self) {
        self.link.lost().await;
    }

    pub(crate) fn session(&self) -> u64 {
        self.link.session
    }

    /// Whether the lock was still there. The release is on its way before the first await.
    pub(crate) async fn release(mut self) -> bool {
        let (confirm, confirmed) = oneshot::channel();
        self.give_back(Some(confirm));
        confirmed.await.unwrap_or(false)
    }

    fn give_back(&mut self, confirm: Option<oneshot::Sender<bool>>) {
        self.released = true;
        let Self {
            core, key, hold, ..
        } = self;
        core.with(|state, now| state.release(key, *hold, confirm, now));
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.released {
            self.give_back(None);
        }
    }
}

/// Waits in the queue of a key. `None`: one try was asked for, and somebody else has the lock.
pub(crate) async fn acquire(
    core: Arc<Core>,
    name: &Key,
    mode: Mode,
    wait: Wait,
) -> Result<Option<Grant>, Error> {
    let timed_out = |_elapsed| {
        core.with(|state, _| state.counters.timeouts += 1);
        Error::Timeout {
            key: name.clone(),
            waited: wait.since.elapsed(),
        }
    };
    core.connector.dialect().check(mode)?;
    let key = wait.bound(core.physical_key(name)).await;
    let key = key.map_err(timed_out)??;
    for _ in 0..MAX_RUNTIMES {
        let (id, reply) = core.with(|state, now| state.enqueue(name, &key, mode, wait, now))?;
        let mut ticket = Ticket {
            core: Arc::clone(&core),
            key: key.clone(),
            id,
            reply: Some(reply),
        };
        match ticket.answer(wait).await {
            Ok(Ok(Ok(granted))) => return Ok(Some(ticket.accept(granted))),
            Ok(Ok(Err(Refusal::Busy))) => return Ok(None),
            Ok(Ok(Err(Refusal::Failed(error)))) => return Err(error),
            // The pool's runtime has ended: the next turn starts it on ours.
            Ok(Err(_channel_gone)) => {}
            Err(elapsed) => {
                drop(ticket);
                return Err(timed_out(elapsed));
            }
        }
    }
    Err(NO_RUNTIME)
}

/// A place in a queue; dropping it leaves the queue.
struct Ticket {
    core: Arc<Core>,
    key: PhysicalKey,
    id: TicketId,
    /// Taken when the answer has come.
    reply: Option<Reply>,
}

type Answer = Result<Result<Granted, Refusal>, oneshot::error::RecvError>;

impl Ticket {
    async fn answer(&mut self, wait: Wait) -> Result<Answer, tokio::time::error::Elapsed> {
        let reply = self.reply.as_mut().expect("BUG: asked for twice");
        let answer = wait.bound(reply).await?;
        self.reply = None;
        Ok(answer)
    }

    fn accept(&self, granted: Granted) -> Grant {
        Grant {
            core: Arc::clone(&self.core),
            key: self.key.clone(),
            hold: granted.hold,
            link: granted.link,
            released: false,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(mut reply) = self.reply.take() else {
            return;
        };
        // After `close` nothing can be sent any more; what was sent before is ours to give back.
        reply.close();
        match reply.try_recv() {
            Ok(Ok(granted)) => drop(self.accept(granted)),
            Ok(Err(_refused)) => {}
            Err(_) => self
                .core
                .with(|state, now| state.cancel(&self.key, self.id, now)),
        }
    }
}
