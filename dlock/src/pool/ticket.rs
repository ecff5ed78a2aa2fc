//! A caller's place in a queue, and its part of a grant. Dropping either gives back whatever it stands for; neither owns a socket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use super::core::Core;
use super::demand::Reply;
use super::queue::{Granted, HoldId, Link, Refusal, TicketId};
use super::sessions::Confirm;
use super::upgrades::Upgrading;
use crate::error::{Error, LossCause};
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

    /// The server's number for the session that holds the lock.
    pub(crate) fn session(&self) -> i64 {
        self.link.number()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// The lock becomes a stronger one; says which.
    pub(crate) async fn upgrade(
        &self,
        name: &Key,
        from: Mode,
        timeout: Option<Duration>,
    ) -> Result<Mode, Error> {
        let Self {
            core, key, hold, ..
        } = self;
        let to = core.backend.upgraded(from)?;
        Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let wait = core.wait(timeout, false);
        let hold = *hold;
        Upgrading { core, key, hold }.finish(name, to, wait).await?;
        Ok(to)
    }

    /// An error says how the lock was lost before. The release is on its way before the first await.
    pub(crate) async fn release(mut self) -> Result<(), LossCause> {
        let mut confirmed = None;
        let confirm = || {
            let (confirm, answer) = oneshot::channel();
            confirmed = Some(answer);
            Some(confirm)
        };
        let known = self.give_back(confirm);
        let was_held = match confirmed {
            Some(answer) => answer.await.unwrap_or(false),
            None => known.unwrap_or(false),
        };
        match was_held {
            true => Ok(()),
            false => Err(self.link.loss_cause()),
        }
    }

    fn give_back(&mut self, confirm: impl FnOnce() -> Option<Confirm>) -> Option<bool> {
        self.released = true;
        let Self {
            core, key, hold, ..
        } = self;
        core.with(|state, now| state.release(key, *hold, confirm, now))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.released {
            self.give_back(|| None);
        }
    }
}

/// A place in a queue; dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Ticket {
    core: Arc<Core>,
    key: PhysicalKey,
    id: TicketId,
    /// Taken when the answer has come.
    reply: Option<Reply>,
}

impl Ticket {
    /// The last place in the queue of this key.
    pub(super) fn draw(
        core: &Arc<Core>,
        name: &Key,
        key: PhysicalKey,
        mode: Mode,
        wait: Wait,
    ) -> Result<Self, Error> {
        let (id, reply) = core.with(|state, now| state.enqueue(name, &key, mode, wait, now))?;
        Ok(Self {
            core: Arc::clone(core),
            key,
            id,
            reply: Some(reply),
        })
    }

    /// An error means that the pool's runtime has ended. Not to be asked again after an answer.
    pub(super) fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Result<Grant, Refusal>, RecvError>> {
        let reply = self.reply.as_mut().expect("BUG: asked for twice");
        let answer = ready!(Pin::new(reply).poll(context));
        self.reply = None;
        Poll::Ready(answer.map(|answer| answer.map(|granted| self.accept(granted))))
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
