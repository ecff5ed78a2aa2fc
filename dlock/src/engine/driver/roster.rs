//! Sessions of one lock each, which the machine does not know: what the pool tells of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::Engine;
use super::task_end::{OwnId, TaskEnd};
use crate::backend::Request;
use crate::engine::Counters;
use crate::error::{Error, HeldBy, LossCause};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// The sessions of one lock each.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<OwnId, Entry>,
    last_id: u64,
    /// Callers that wait for such a session, or for its lock.
    waiters: usize,
}

#[derive(Debug)]
struct Entry {
    name: Key,
    is_open: bool,
    /// Its caller waits in the line of a key as well.
    is_in_line: bool,
    /// The lock that it holds, and since when.
    held: Option<(Request, Instant)>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnCensus {
    pub(crate) sessions: usize,
    pub(crate) held: usize,
    /// Callers that wait.
    pub(crate) waiters: usize,
    /// Places in the line of a key that their tasks have taken.
    pub(crate) in_line: usize,
}

impl Roster {
    fn begin(&mut self, name: Key) -> OwnId {
        self.last_id += 1;
        let id = OwnId(self.last_id);
        let entry = Entry {
            name,
            is_open: false,
            is_in_line: false,
            held: None,
        };
        self.entries.insert(id, entry);
        id
    }

    fn held(&self) -> impl Iterator<Item = (&Key, &Request, Instant)> {
        let entries = self.entries.values();
        entries.filter_map(|entry| {
            let (lock, since) = entry.held.as_ref()?;
            Some((&entry.name, lock, *since))
        })
    }

    /// The holder that keeps a request of this mode waiting.
    pub(super) fn held_by(&self, key: &PhysicalKey, mode: Mode) -> Option<HeldBy> {
        let in_the_way = self
            .held()
            .filter(|(_, lock, _)| lock.key == *key && !lock.mode.coexists_with(mode));
        let since = in_the_way.map(|(_, _, since)| since).min()?;
        let held_for = since.elapsed();
        Some(HeldBy::ThisProcess { held_for })
    }

    /// The locks that are held, with their names.
    pub(super) fn names(&self) -> impl Iterator<Item = (&PhysicalKey, &Key)> {
        self.held().map(|(name, lock, _)| (&lock.key, name))
    }

    pub(super) fn census(&self) -> OwnCensus {
        let entries = || self.entries.values();
        OwnCensus {
            sessions: entries().filter(|entry| entry.is_open).count(),
            held: self.held().count(),
            waiters: self.waiters,
            in_line: entries().filter(|entry| entry.is_in_line).count(),
        }
    }

    /// All locks are lost. Returns how many.
    pub(super) fn lose_all(&mut self) -> u64 {
        let entries = self.entries.values_mut();
        entries.filter_map(|entry| entry.held.take()).count() as u64
    }

    /// The task of this session has ended; `cause`: before its time.
    pub(super) fn end(&mut self, id: OwnId, cause: Option<LossCause>, counters: &mut Counters) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        counters.sessions_closed += u64::from(entry.is_open && cause.is_none());
        counters.lost += u64::from(entry.held.is_some() && cause.is_some());
    }
}

/// What the task of such a session reports. Dropped before it is [finished](Self::finish), the task
/// was dropped with its runtime, or panicked.
pub(crate) struct OwnTask {
    id: OwnId,
    end: TaskEnd,
}

impl OwnTask {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.end.engine()
    }

    fn change(&self, change: impl FnOnce(&mut Entry, &mut Counters)) {
        self.engine().with(|shared, _, _| {
            if let Some(entry) = shared.roster.entries.get_mut(&self.id) {
                shared.machine.count(|counters| change(entry, counters));
            }
        });
    }

    pub(crate) fn opened(&self) {
        self.change(|entry, counters| {
            entry.is_open = true;
            counters.sessions_opened += 1;
        });
    }

    /// Its session could not be opened.
    pub(crate) fn open_failed(&self, error: &Error) {
        self.change(|_, counters| counters.sessions_refused += 1);
        Engine::log_refused_session(error);
        self.engine().settle_dispute();
    }

    /// Whether its caller waits in the line of a key as well.
    pub(crate) fn set_in_line(&self, is_in_line: bool) {
        self.change(|entry, _| entry.is_in_line = is_in_line);
    }

    /// The server has granted the lock; `is_wanted`: to a caller that still waits.
    pub(crate) fn granted(&self, lock: &Request, is_wanted: bool) {
        let lock = lock.clone();
        self.change(|entry, counters| {
            counters.acquired += u64::from(is_wanted);
            entry.held = Some((lock, Instant::now()));
        });
    }

    pub(crate) fn contended(&self) {
        self.change(|_, counters| counters.contended += 1);
    }

    /// The lock has become a stronger one.
    pub(crate) fn upgraded(&self, to: Mode) {
        self.change(|entry, _| {
            if let Some((lock, _)) = &mut entry.held {
                lock.mode = to;
            }
        });
    }

    pub(crate) fn released(&self) {
        self.change(|entry, _| entry.held = None);
    }

    /// The guard has lost its lock.
    pub(crate) fn lost(&self) {
        self.change(|entry, counters| {
            entry.held = None;
            counters.lost += 1;
        });
    }

    /// The session has ended; another one may be opened in its place.
    pub(crate) fn session_lost(&self) {
        self.change(|entry, counters| {
            entry.is_open = false;
            counters.sessions_lost += 1;
        });
    }

    pub(crate) fn finish(self) {
        self.end.finish();
    }
}

/// A caller that waits for such a session, or for its lock.
#[derive(Debug)]
pub(crate) struct OwnWaiter(Arc<Engine>);

impl Drop for OwnWaiter {
    fn drop(&mut self) {
        self.0.with(|shared, _, _| shared.roster.waiters -= 1);
    }
}

impl Engine {
    pub(crate) fn own_waiter(self: &Arc<Self>) -> OwnWaiter {
        self.with(|shared, _, _| shared.roster.waiters += 1);
        OwnWaiter(Arc::clone(self))
    }

    /// Starts the task of a session of one lock, which is called `name`.
    pub(crate) fn start_own<F>(
        self: &Arc<Self>,
        name: Key,
        run: impl FnOnce(OwnTask) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let begun = self.with(|shared, now, effects| {
            shared.machine.admit(now)?;
            let (runtime, epoch) = shared.tasks.begin_own(effects)?;
            Ok::<_, Error>((shared.roster.begin(name), runtime, epoch))
        });
        let (id, runtime, epoch) = begun?;
        let end = TaskEnd::of_own(Arc::clone(self), epoch, id);
        drop(runtime.spawn(run(OwnTask { id, end })));
        Ok(())
    }
}
