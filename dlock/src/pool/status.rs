//! What a pool shows of itself.

use std::fmt;

use super::state::State;

/// What a pool is doing, and what it has done since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Sessions that are open.
    pub sessions: usize,
    /// Of these, sessions that wait on the server for a lock that somebody else holds.
    pub waiting_sessions: usize,
    /// Sessions that are open for pinned locks, one each, beside the others.
    pub pinned_sessions: usize,
    /// Locks that the server has granted to this pool.
    pub held: usize,
    /// Callers that wait.
    pub waiters: usize,
    /// Keys that somebody holds or waits for on these sessions.
    pub keys: usize,
    /// What has happened so far.
    pub counters: Counters,
}

/// What has happened since the pool was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Locks that callers have got.
    pub acquired: u64,
    /// Of these, locks that went from one local holder to the next without the server.
    pub handoffs: u64,
    /// Tries that found the lock held by somebody else.
    pub contended: u64,
    /// Callers whose timeout passed.
    pub timeouts: u64,
    /// Guards whose lock was lost, with their session, their runtime, or by [`close_timeout`](crate::LockPool::close_timeout).
    pub lost: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions closed because they had nothing to do any more.
    pub sessions_closed: u64,
    /// Sessions lost.
    pub sessions_lost: u64,
    /// Sessions that the server, or dlock itself, refused.
    pub sessions_refused: u64,
}

impl State {
    pub(crate) fn status(&self) -> Status {
        let sessions = || self.sessions.values().filter(|session| session.ready);
        let pinned = || self.pinned.values();
        let held: usize = sessions().map(|session| session.held.len()).sum();
        let queued = pinned().filter(|pinned| pinned.queued).count();
        let waiters: usize = self.keys.values().map(|queue| queue.waiters.len()).sum();
        Status {
            sessions: sessions().count(),
            waiting_sessions: sessions().filter(|session| session.wait.is_some()).count(),
            pinned_sessions: pinned().filter(|pinned| pinned.open).count(),
            held: held + pinned().filter(|pinned| pinned.held.is_some()).count(),
            // A place in the queue may be left, or served, before its task has heard of it.
            waiters: (waiters + self.pinned_waiters).saturating_sub(queued),
            keys: self.keys.len(),
            counters: self.counters,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            waiting_sessions,
            pinned_sessions,
            held,
            waiters,
            keys,
            counters,
        } = self;
        let Counters {
            acquired,
            handoffs,
            contended,
            timeouts,
            lost,
            sessions_opened,
            sessions_closed,
            sessions_lost,
            sessions_refused,
        } = counters;
        writeln!(
            f,
            "now: {held} held, {waiters} waiting, {keys} keys, {sessions} sessions ({waiting_sessions} waiting), {pinned_sessions} pinned"
        )?;
        writeln!(
            f,
            "locks: {acquired} acquired ({handoffs} handed over), {contended} contended, {timeouts} timeouts, {lost} lost"
        )?;
        write!(
            f,
            "sessions: {sessions_opened} opened, {sessions_closed} closed, {sessions_lost} lost, {sessions_refused} refused"
        )
    }
}
