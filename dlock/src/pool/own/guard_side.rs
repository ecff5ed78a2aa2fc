//! What the task of such a lock has of its guard.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{OwnGrant, Wish};
use crate::backend::Request;
use crate::engine::{LOSS_GRACE, Loss};
use crate::error::LossCause;
use crate::pool::core::Core;

/// How long a release waits for the holder's last statement or rollback.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Tells the guard how its lock was lost, also when the task is dropped with its runtime.
pub(super) struct TellLoss(pub(super) Arc<Loss>);

impl TellLoss {
    pub(super) fn tell(&self, cause: LossCause) {
        self.0.set(cause);
        self.0.tell();
    }
}

impl Drop for TellLoss {
    fn drop(&mut self) {
        // A cause that was set before stays.
        self.tell(match std::thread::panicking() {
            true => LossCause::Session,
            false => LossCause::Runtime,
        });
    }
}

/// What the task has of its guard.
pub(super) struct GuardSide {
    /// Dropped first: a guard whose wish is not received finds the loss flagged.
    pub(super) loss: TellLoss,
    pub(super) wishes: mpsc::UnboundedReceiver<Wish>,
    presence: watch::Sender<()>,
}

impl GuardSide {
    /// The guard's side goes to the caller.
    pub(super) fn new(
        core: Arc<Core>,
        request: &Request,
        session: i64,
        connection: Option<DatabaseConnection>,
    ) -> (Self, OwnGrant) {
        let (sender, wishes) = mpsc::unbounded_channel();
        let (presence, present) = watch::channel(());
        let loss = Arc::<Loss>::default();
        let grant = OwnGrant {
            core,
            key: request.key.clone(),
            session,
            loss: Arc::clone(&loss),
            wishes: sender,
            presence: present,
            connection,
        };
        let side = Self {
            wishes,
            loss: TellLoss(loss),
            presence,
        };
        (side, grant)
    }

    /// The guard learns of its loss, and has a while to notice.
    pub(super) async fn lose(self, cause: LossCause) {
        let Self {
            wishes,
            loss,
            presence,
        } = self;
        loss.tell(cause);
        drop(wishes);
        drop(timeout(LOSS_GRACE, presence.closed()).await);
    }
}
