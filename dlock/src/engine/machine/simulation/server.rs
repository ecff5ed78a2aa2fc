//! A model of a lock server: sessions, locks, waits in a line for each key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::machine::event::{Answer, Answers, Batch, Request, Time};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// A session on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend(pub(super) u64);

#[derive(Debug, Default)]
pub(super) struct Server {
    last: u64,
    alive: BTreeSet<Backend>,
    locks: BTreeMap<PhysicalKey, Vec<(Backend, Mode)>>,
    waits: BTreeMap<PhysicalKey, VecDeque<(Backend, Mode)>>,
    now: Time,
    /// Since when keys are free that were held.
    free_since: BTreeMap<PhysicalKey, Time>,
}

impl Server {
    pub(super) fn connect(&mut self) -> Backend {
        self.last += 1;
        let backend = Backend(self.last);
        self.alive.insert(backend);
        backend
    }

    pub(super) fn is_alive(&self, backend: Backend) -> bool {
        self.alive.contains(&backend)
    }

    pub(super) fn alive(&self) -> Vec<Backend> {
        self.alive.iter().copied().collect()
    }

    pub(super) fn holds(&self, backend: Backend, key: &PhysicalKey, mode: Mode) -> bool {
        let locks = self.locks.get(key);
        locks.is_some_and(|locks| locks.contains(&(backend, mode)))
    }

    /// `None`: it is held.
    pub(super) fn free_since(&self, key: &PhysicalKey) -> Option<Time> {
        match self.locks.contains_key(key) {
            true => None,
            false => Some(self.free_since.get(key).copied().unwrap_or_default()),
        }
    }

    /// Whether a lock of this mode would be granted at once, also in a fair line.
    pub(super) fn is_free_for(&self, key: &PhysicalKey, mode: Mode) -> bool {
        let mut held = self.locks.get(key).into_iter().flatten();
        !self.waits.contains_key(key) && held.all(|(_, held)| held.coexists_with(mode))
    }

    pub(super) fn set_time(&mut self, now: Time) {
        self.now = now;
    }

    fn forget_free(&mut self) {
        let free = self.locks.extract_if(.., |_, locks| locks.is_empty());
        for (key, _) in free {
            self.free_since.insert(key, self.now);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.waits.is_empty() && self.alive.is_empty()
    }

    /// The session ends. Returns who is granted what it held.
    pub(super) fn end(&mut self, backend: Backend) -> Vec<Backend> {
        self.alive.remove(&backend);
        for line in self.waits.values_mut() {
            line.retain(|(waiting, _)| *waiting != backend);
        }
        for locks in self.locks.values_mut() {
            locks.retain(|(holder, _)| *holder != backend);
        }
        self.serve_lines()
    }

    /// Carries out a batch, of which requests may fail. Returns its answers, and who is granted
    /// what it has released.
    pub(super) fn exchange(
        &mut self,
        backend: Backend,
        batch: &Batch,
        mut fails: impl FnMut() -> Option<Answer>,
    ) -> (Answers, Vec<Backend>) {
        let mut answers = Answers::default();
        let mut kept = Vec::new();
        for request in &batch.releases {
            let failed = fails();
            kept.extend(failed.is_some().then_some(&request.key));
            let answer = failed.unwrap_or_else(|| self.release(backend, request));
            answers.releases.push(answer);
        }
        // The tries of a batch come before waits that its releases end.
        for request in &batch.tries {
            let answer = match fails() {
                Some(failed) => failed,
                // The session still has what it failed to release.
                None if kept.contains(&&request.key) => Answer::Yes,
                None => self.try_lock(backend, request).into(),
            };
            answers.tries.push(answer);
        }
        (answers, self.serve_lines())
    }

    fn release(&mut self, backend: Backend, request: &Request) -> Answer {
        let Some(locks) = self.locks.get_mut(&request.key) else {
            return Answer::No;
        };
        let held = locks
            .iter()
            .position(|lock| *lock == (backend, request.mode));
        held.map(|index| locks.swap_remove(index));
        held.is_some().into()
    }

    /// `true` also at once, as servers do, for what the session has already: the machine must not
    /// ask.
    pub(super) fn try_lock(&mut self, backend: Backend, request: &Request) -> bool {
        let Request { key, mode } = request;
        let locks = self.locks.entry(key.clone()).or_default();
        assert!(
            locks.iter().all(|(holder, _)| *holder != backend),
            "asked for twice"
        );
        let is_free = locks.iter().all(|(_, held)| held.coexists_with(*mode));
        if is_free {
            locks.push((backend, *mode));
        }
        self.forget_free();
        is_free
    }

    /// Stands in line.
    pub(super) fn wait(&mut self, backend: Backend, request: &Request) {
        let line = self.waits.entry(request.key.clone()).or_default();
        line.push_back((backend, request.mode));
    }

    /// Whether it still stood in line, which it has left now.
    pub(super) fn stop_wait(&mut self, backend: Backend) -> bool {
        let mut was_waiting = false;
        self.waits.retain(|_, line| {
            let before = line.len();
            line.retain(|(waiting, _)| *waiting != backend);
            was_waiting |= line.len() < before;
            !line.is_empty()
        });
        was_waiting
    }

    fn serve_lines(&mut self) -> Vec<Backend> {
        let mut granted = Vec::new();
        self.forget_free();
        for (key, line) in &mut self.waits {
            while let Some((backend, mode)) = line.front().copied() {
                let locks = self.locks.entry(key.clone()).or_default();
                if !locks.iter().all(|(_, held)| held.coexists_with(mode)) {
                    break;
                }
                locks.push((backend, mode));
                line.pop_front();
                granted.push(backend);
            }
        }
        self.waits.retain(|_, line| !line.is_empty());
        self.forget_free();
        granted
    }
}
