//! What a pool opens its sessions from: the application's own pool, or a server.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use sea_orm::DatabaseBackend;

use super::rules::LockRules;
use super::seam::Backend;

/// Resolves when the application's own connection is closed.
pub(crate) type Closed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether it is closed already.
pub(crate) fn is_over(closed: &mut Closed) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    closed.as_mut().poll(&mut context).is_ready()
}

/// Settings of a pool that its backend must know.
#[derive(Debug, Clone, Copy)]
#[allow(
    dead_code,
    reason = "each database reads the settings that it has a use for"
)]
pub(crate) struct ConnectSettings {
    pub(crate) keepalive: Duration,
    pub(crate) max_sessions: usize,
    pub(crate) trust_session_pooling: bool,
    /// The rules of another database, for a backend that imitates it.
    pub(crate) rules_of: fn(DatabaseBackend) -> &'static LockRules,
}

/// A server that a lock pool opens its own sessions on: one that SeaORM has no connection to. See
/// [`LockPool::open`](crate::LockPool::open).
///
/// It is implemented in the module of each such database, and nowhere else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no server that a lock pool opens by itself",
    note = "the lock pool of a connection is `LockPool::of(&db)`, shaped by `LockPool::builder(&db)`"
)]
#[allow(private_interfaces, reason = "nobody outside implements it")]
pub trait Origin: Send + 'static {
    #[doc(hidden)]
    fn backend(&self, settings: ConnectSettings) -> Arc<dyn Backend>;
}

/// The application's own connection pool. Nothing here keeps it alive.
pub(crate) trait Application {
    /// Differs between any two pools that are alive.
    fn identity(&self) -> usize;

    fn is_closed(&self) -> bool;

    /// Resolves when the pool is closed, or the last handle to it dropped.
    fn closed(&self) -> Closed;

    /// Opens sessions like the application's own.
    fn backend(&self, settings: ConnectSettings) -> Arc<dyn Backend>;

    /// Makes an earlier [`backend`](Self::backend) use the options that the application connects
    /// with now.
    fn refresh(&self, backend: &dyn Any);
}
