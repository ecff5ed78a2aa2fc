//! A lock that a caller holds, and how it learns of its loss.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};

use super::Engine;
use crate::backend::Backend;
use crate::engine::machine::GrantId;
use crate::error::LossCause;
use crate::key::{Key, PhysicalKey};

/// Whether a lock is lost, and how.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    cause: OnceLock<LossCause>,
    told: Notify,
}

impl Loss {
    /// From now on guards report the loss. The first cause counts.
    pub(crate) fn set(&self, cause: LossCause) {
        self.cause.get_or_init(|| cause);
    }

    /// Wakes those that wait for it, after it was [set](Self::set).
    pub(crate) fn tell(&self) {
        self.told.notify_waiters();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.cause.get().is_some()
    }

    /// Of a lock that is lost.
    pub(crate) fn cause(&self) -> LossCause {
        self.cause.get().copied().unwrap_or(LossCause::Session)
    }

    /// Resolves when the lock is lost.
    pub(crate) async fn wait(&self) {
        // Created before the look, it is woken by a `tell` that comes after the look.
        let told = self.told.notified();
        if !self.is_set() {
            told.await;
        }
    }
}

/// What guards know of their session.
#[derive(Debug)]
pub(crate) struct SessionCell {
    number: i64,
    /// Dropped with the last guard.
    _presence: watch::Receiver<()>,
}

impl SessionCell {
    /// The sender sees when the last guard is gone.
    pub(super) fn new(number: i64) -> (watch::Sender<()>, Arc<Self>) {
        let (guards, presence) = watch::channel(());
        let cell = Self {
            number,
            _presence: presence,
        };
        (guards, Arc::new(cell))
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }
}

/// What the guards of one grant share. The driver has it as well, until the last guard is gone or
/// the grant is lost.
#[derive(Debug)]
pub(crate) struct GrantCell {
    pub(super) id: GrantId,
    pub(super) key: PhysicalKey,
    /// As the first guard calls it.
    pub(super) name: Key,
    pub(super) session: Arc<SessionCell>,
    pub(super) loss: Loss,
}

/// One guard's part of a grant; gives it back when it is dropped.
pub(crate) struct Grant {
    engine: Arc<Engine>,
    cell: Arc<GrantCell>,
    is_released: bool,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grant").field(&self.cell).finish()
    }
}

impl Grant {
    pub(super) fn new(engine: Arc<Engine>, cell: Arc<GrantCell>) -> Self {
        let is_released = false;
        Self {
            engine,
            cell,
            is_released,
        }
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        self.engine.backend()
    }

    pub(crate) fn key(&self) -> &PhysicalKey {
        &self.cell.key
    }

    /// The server's number for the session that holds the lock.
    pub(crate) fn session(&self) -> i64 {
        self.cell.session.number
    }

    pub(crate) fn loss(&self) -> &Loss {
        &self.cell.loss
    }

    /// An error says how the lock was lost before. The release is on its way before the first await.
    pub(crate) async fn release(mut self) -> Result<(), LossCause> {
        self.is_released = true;
        let cell = &self.cell;
        let released = self
            .engine
            .with(|shared, now, effects| shared.release_confirmed(cell, now, effects));
        let was_held = match released {
            Ok(was_held) => was_held,
            Err(later) => later.await.unwrap_or(false),
        };
        match was_held {
            true => Ok(()),
            false => Err(self.cell.loss.cause()),
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.is_released {
            let cell = &self.cell;
            self.engine
                .with(|shared, now, effects| shared.release(cell, now, effects));
        }
    }
}
