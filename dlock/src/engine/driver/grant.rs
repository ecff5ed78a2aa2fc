//! A lock that a caller holds, and how it learns of its loss.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};

use super::Engine;
use crate::backend::Backend;
use crate::engine::machine::GrantId;
use crate::error::LossCause;
use crate::key::PhysicalKey;

/// Whether a lock is lost, and how.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    cause: OnceLock<LossCause>,
    told: Notify,
}

impl Loss {
    /// From now on guards report the loss. `false`: it was set before, and that cause counts.
    pub(crate) fn set(&self, cause: LossCause) -> bool {
        self.cause.set(cause).is_ok()
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
    /// The server's number for the session.
    number: i64,
    /// The guards of a server session share one, since all its locks are lost together. Each lock
    /// of an inline session has its own.
    loss: Arc<Loss>,
    /// Dropped with the last guard.
    presence: watch::Receiver<()>,
}

impl SessionCell {
    /// The sender sees when the last guard is gone.
    pub(super) fn new(number: i64) -> (watch::Sender<()>, Arc<Self>) {
        let (guards, presence) = watch::channel(());
        let loss = Arc::default();
        let cell = Self {
            number,
            loss,
            presence,
        };
        (guards, Arc::new(cell))
    }

    /// For a guard whose lock is lost by itself.
    pub(super) fn of_one_lock(&self, loss: Arc<Loss>) -> Arc<Self> {
        Arc::new(Self {
            number: self.number,
            loss,
            presence: self.presence.clone(),
        })
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    pub(super) fn loss(&self) -> &Arc<Loss> {
        &self.loss
    }
}

/// A grant of the machine, for one guard.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) id: GrantId,
    pub(super) key: PhysicalKey,
    pub(super) session: Arc<SessionCell>,
}

/// One guard's part of a grant; gives it back when it is dropped.
pub(crate) struct Grant {
    engine: Arc<Engine>,
    granted: Granted,
    is_released: bool,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grant").field(&self.granted).finish()
    }
}

impl Grant {
    pub(super) fn new(engine: Arc<Engine>, granted: Granted) -> Self {
        let is_released = false;
        Self {
            engine,
            granted,
            is_released,
        }
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        self.engine.backend()
    }

    pub(crate) fn key(&self) -> &PhysicalKey {
        &self.granted.key
    }

    /// The server's number for the session that holds the lock.
    pub(crate) fn session(&self) -> i64 {
        self.granted.session.number
    }

    pub(crate) fn loss(&self) -> &Loss {
        &self.granted.session.loss
    }

    /// An error says how the lock was lost before. The release is on its way before the first
    /// await.
    pub(crate) async fn release(mut self) -> Result<(), LossCause> {
        self.is_released = true;
        let granted = &self.granted;
        let released = self
            .engine
            .with(|shared, now, effects| shared.release_confirmed(granted, now, effects));
        let was_held = match released {
            Ok(was_held) => was_held,
            Err(later) => later.await.unwrap_or(false),
        };
        match was_held {
            true => Ok(()),
            false => Err(self.loss().cause()),
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.is_released {
            let granted = &self.granted;
            self.engine
                .with(|shared, now, effects| shared.release(granted, now, effects));
        }
    }
}
