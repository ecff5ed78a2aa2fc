//! Locks of one process, in its memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use sea_orm::DbErr;

use super::place::{LONGEST_TURN, Listing, Place, process};
use crate::backend::origin::{Application, Closed, is_over};
use crate::backend::session::Hold;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::ServerLock;

/// Every database of this process that has locks here.
static DATABASES: LazyLock<Mutex<Databases>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Databases {
    /// Those that everybody in this process can see.
    named: HashMap<String, Weak<Locks>>,
    /// Those of one connection, by its identity, which is used again when it is gone.
    private: HashMap<usize, (Closed, Weak<Locks>)>,
}

type Locks = Mutex<HashMap<Slot, Holders>>;

/// A lock, or the turn to wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Slot {
    Lock(PhysicalKey),
    Turn(PhysicalKey),
}

struct Holders {
    mode: Mode,
    count: usize,
    since: Instant,
}

/// The locks of one database.
#[derive(Clone)]
pub(crate) struct Memory {
    locks: Arc<Locks>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// The same locks for the same name.
    pub(crate) fn named(name: &str) -> Self {
        let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
        databases.named.retain(|_, locks| locks.strong_count() > 0);
        let known = databases.named.get(name).and_then(Weak::upgrade);
        let locks = known.unwrap_or_default();
        databases
            .named
            .insert(name.to_owned(), Arc::downgrade(&locks));
        Self { locks }
    }

    /// The same locks for the same connection of the application.
    pub(crate) fn private(application: &dyn Application) -> Self {
        let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
        databases.private.retain(|_, (closed, _)| !is_over(closed));
        let known = databases.private.get(&application.identity());
        let locks = known
            .and_then(|(_, locks)| locks.upgrade())
            .unwrap_or_default();
        let entry = (application.closed(), Arc::downgrade(&locks));
        databases.private.insert(application.identity(), entry);
        Self { locks }
    }

    fn take(&self, slot: Slot, mode: Mode) -> Option<Box<dyn Hold>> {
        let mut locks = lock(&self.locks);
        let holders = locks.entry(slot.clone()).or_insert_with(|| Holders {
            mode,
            count: 0,
            since: Instant::now(),
        });
        (holders.count == 0 || holders.mode.coexists_with(mode)).then(|| {
            holders.count += 1;
            let locks = Arc::clone(&self.locks);
            Box::new(Taken { locks, slot }) as Box<dyn Hold>
        })
    }
}

fn lock(locks: &Locks) -> MutexGuard<'_, HashMap<Slot, Holders>> {
    locks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place for Memory {
    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> Result<Option<Box<dyn Hold>>, DbErr> {
        Ok(self.take(Slot::Lock(key.clone()), mode))
    }

    fn try_turn(&self, key: &PhysicalKey) -> Option<Box<dyn Hold>> {
        self.take(Slot::Turn(key.clone()), Mode::Exclusive)
    }

    fn is_awaited(&self, key: &PhysicalKey) -> bool {
        let locks = lock(&self.locks);
        let turn = locks.get(&Slot::Turn(key.clone()));
        turn.is_some_and(|turn| turn.since.elapsed() < LONGEST_TURN)
    }

    fn listing(&self) -> Result<Listing, DbErr> {
        let us = process(std::process::id());
        let mut held = Vec::new();
        for (slot, holders) in &*lock(&self.locks) {
            if let Slot::Lock(key) = slot {
                let by_us = ServerLock::held(key.clone(), holders.mode, us.clone());
                held.extend(std::iter::repeat_n(by_us, holders.count));
            }
        }
        Ok(Listing {
            locks: held,
            has_moved: false,
        })
    }
}

struct Taken {
    locks: Arc<Locks>,
    slot: Slot,
}

impl Hold for Taken {
    fn is_in_place(&self) -> Result<bool, DbErr> {
        Ok(true)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut locks = lock(&self.locks);
        if let Some(holders) = locks.get_mut(&self.slot) {
            holders.count -= 1;
            if holders.count == 0 {
                locks.remove(&self.slot);
            }
        }
    }
}
