//! Which lock pool belongs to which connection of the application. It keeps nothing of the application alive.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::LockPool;
use crate::session::{Application, Closed, is_over};

/// By [`Application::identity`].
static POOLS: LazyLock<Mutex<HashMap<usize, Entry>>> = LazyLock::new(Default::default);

struct Entry {
    pool: LockPool,
    /// An identity is used again once its owner is gone; this tells the two apart.
    closed: Closed,
    /// Whether the sessions connect as the application does, whatever that is at the time.
    follows: bool,
}

impl Entry {
    fn is_stale(&mut self) -> bool {
        is_over(&mut self.closed)
    }
}

/// The pool of this connection, built by `build` when there is none yet.
pub(super) fn find(application: &dyn Application, build: impl FnOnce() -> LockPool) -> LockPool {
    let identity = application.identity();
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(entry) = pools.get_mut(&identity)
        && (application.is_closed() || !entry.is_stale())
    {
        if let Ok(owner) = &entry.pool.0 {
            if application.is_closed() {
                owner.core.begin_close();
            } else if entry.follows {
                application.refresh(&*owner.core.connector);
            }
        }
        return entry.pool.clone();
    }
    let pool = build();
    let stale = insert(&mut pools, application, pool.clone(), true);
    drop(pools);
    drop(stale);
    pool
}

/// Makes this the pool of the connection, in the place of any other.
pub(super) fn install(application: &dyn Application, pool: LockPool, follows: bool) {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let replaced = insert(&mut pools, application, pool, follows);
    drop(pools);
    drop(replaced);
}

/// Returns what it has thrown out, for the caller to drop outside of the mutex.
fn insert(
    pools: &mut HashMap<usize, Entry>,
    application: &dyn Application,
    pool: LockPool,
    follows: bool,
) -> Vec<Entry> {
    let stale = pools.extract_if(|_, entry| entry.is_stale());
    let mut thrown_out: Vec<Entry> = stale.map(|(_, entry)| entry).collect();
    let entry = Entry {
        pool,
        closed: application.closed(),
        follows,
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
        self.core.begin_close();
    }
}
