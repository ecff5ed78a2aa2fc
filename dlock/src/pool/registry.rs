//! Which lock pool belongs to which connection of the application. It keeps nothing of the
//! application alive.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use foldhash::HashMap;
use sea_orm::DatabaseConnection;

use super::LockPool;
use super::connection::sealed::Connection as _;
use crate::backend::{Application, Closed, is_over};
use crate::error::Error;

/// By [`Application::identity`].
static POOLS: LazyLock<Mutex<HashMap<usize, Entry>>> = LazyLock::new(Default::default);

struct Entry {
    pool: LockPool,
    /// An identity is used again once its owner is gone; this tells the two apart.
    closed: Closed,
    bond: Bond,
}

/// What pool and connection have to do with each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// The sessions connect as the application does, whatever that is at the time.
    Follows,
    /// The sessions connect in their own way.
    Stays,
    /// The pool is another connection's.
    Guest,
}

impl Entry {
    fn is_stale(&mut self) -> bool {
        is_over(&mut self.closed)
    }
}

/// The databases for which this process has built a pool with a namespace.
static NAMESPACED: Mutex<Vec<&str>> = Mutex::new(Vec::new());

pub(super) fn note_namespace(backend: &'static str) {
    let mut backends = NAMESPACED.lock().unwrap_or_else(PoisonError::into_inner);
    if !backends.contains(&backend) {
        backends.push(backend);
    }
}

/// Whether this process has built a pool with a namespace for this database.
pub(crate) fn has_namespace(backend: &str) -> bool {
    let backends = NAMESPACED.lock().unwrap_or_else(PoisonError::into_inner);
    backends.contains(&backend)
}

/// The pool of this connection, built by `build` when there is none yet.
pub(super) fn find(application: &dyn Application, build: impl FnOnce() -> LockPool) -> LockPool {
    let identity = application.identity();
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(entry) = pools.get_mut(&identity)
        && (application.is_closed() || !entry.is_stale())
    {
        if let Ok(owner) = &entry.pool.0 {
            match (application.is_closed(), entry.bond) {
                (true, Bond::Guest) => return LockPool(Err(Error::PoolClosed)),
                (true, _) => owner.core.engine.begin_close(),
                (false, Bond::Follows) => application.refresh(&**owner.core.backend()),
                (false, _) => {}
            }
        }
        return entry.pool.clone();
    }
    let pool = build();
    let stale = insert(&mut pools, application, pool.clone(), Bond::Follows);
    drop(pools);
    drop(stale);
    pool
}

/// Makes this the pool of the connection, in the place of any other.
pub(super) fn install(application: &dyn Application, pool: LockPool, bond: Bond) {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let replaced = insert(&mut pools, application, pool, bond);
    drop(pools);
    drop(replaced);
}

/// A connection whose locks are those of another's pool, until this is dropped.
pub(super) struct Guest(DatabaseConnection);

impl Guest {
    pub(super) fn new(connection: DatabaseConnection, pool: LockPool) -> Self {
        if let Ok(application) = connection.application() {
            install(application, pool, Bond::Guest);
        }
        Self(connection)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Ok(application) = self.0.application() {
            let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
            let removed = pools.remove(&application.identity());
            drop(pools);
            drop(removed);
        }
    }
}

/// Returns what it has thrown out, for the caller to drop outside of the mutex.
fn insert(
    pools: &mut HashMap<usize, Entry>,
    application: &dyn Application,
    pool: LockPool,
    bond: Bond,
) -> Vec<Entry> {
    let stale = pools.extract_if(|_, entry| entry.is_stale());
    let mut thrown_out: Vec<Entry> = stale.map(|(_, entry)| entry).collect();
    let entry = Entry {
        pool,
        closed: application.closed(),
        bond,
    };
    thrown_out.extend(pools.insert(application.identity(), entry));
    thrown_out
}

/// The lock pool behind an `Arc`: the last one out closes it.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) core: Arc<super::core::Core>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.engine.begin_close();
    }
}
