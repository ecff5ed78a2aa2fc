//! What a pool shows of itself.

use std::fmt;
use std::sync::Arc;

use crate::engine::{Counters, Engine};

/// What a pool is doing, and what it has done since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Sessions that are open.
    pub sessions: usize,
    /// Of these, sessions that wait on the server for a lock that another session holds.
    pub waiting_sessions: usize,
    /// Sessions that are open for one lock each, beside the others: for pinned locks, and for
    /// update locks of SQL Server.
    pub pinned_sessions: usize,
    /// Locks that the server has granted to this pool.
    pub held: usize,
    /// Callers that wait.
    pub waiters: usize,
    /// Keys that are held or waited for on the shared sessions.
    pub keys: usize,
    /// What has happened so far.
    pub counters: Counters,
}

impl Status {
    pub(super) fn of(engine: &Arc<Engine>) -> Self {
        let (shared, own) = engine.census();
        Self {
            sessions: shared.sessions,
            waiting_sessions: shared.waiting_sessions,
            pinned_sessions: own.sessions,
            held: shared.held + own.held,
            // A caller may have left before its task learns of it.
            waiters: (shared.waiters + own.waiters).saturating_sub(own.in_line),
            keys: shared.keys,
            counters: shared.counters,
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
