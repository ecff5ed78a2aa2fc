//! Locks of one process, in its memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use sea_orm::DbErr;

use super::{Hold, Place, process};
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::ServerLock;

/// Every place of this process by its name, as long as somebody uses it.
static PLACES: LazyLock<Mutex<HashMap<String, Weak<Locks>>>> = LazyLock::new(Mutex::default);

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
}

/// The locks of one database.
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
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places.get(name).and_then(Weak::upgrade);
        let locks = known.unwrap_or_else(|| {
            places.retain(|_, locks| locks.strong_count() > 0);
            let locks = Arc::default();
            places.insert(name.to_owned(), Arc::downgrade(&locks));
            locks
        });
        Self { locks }
    }

    fn take(&self, slot: Slot, mode: Mode) -> Option<Box<dyn Hold>> {
        let mut locks = lock(&self.locks);
        let holders = locks
            .entry(slot.clone())
            .or_insert(Holders { mode, count: 0 });
        let shared = holders.mode == Mode::Shared && mode == Mode::Shared;
        (holders.count == 0 || shared).then(|| {
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

    fn try_turn(&self, key: &PhysicalKey) -> Result<Option<Box<dyn Hold>>, DbErr> {
        Ok(self.take(Slot::Turn(key.clone()), Mode::Exclusive))
    }

    fn is_awaited(&self, key: &PhysicalKey) -> Result<bool, DbErr> {
        Ok(lock(&self.locks).contains_key(&Slot::Turn(key.clone())))
    }

    fn locks(&self) -> Result<Vec<ServerLock>, DbErr> {
        let mut held = Vec::new();
        for (slot, holders) in &*lock(&self.locks) {
            if let Slot::Lock(key) = slot {
                let by_us =
                    ServerLock::held(key.clone(), holders.mode, process(std::process::id()));
                held.extend(std::iter::repeat_n(by_us, holders.count));
            }
        }
        Ok(held)
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
