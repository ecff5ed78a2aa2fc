//! What a pool has done.

/// What has happened since the pool was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Locks that callers have acquired.
    pub acquired: u64,
    /// Of these, locks that passed from one local holder to the next without the server.
    pub handoffs: u64,
    /// Tries that found the lock held by another session.
    pub contended: u64,
    /// Callers whose timeout passed.
    pub timeouts: u64,
    /// Guards whose lock was lost: with their session, with their runtime, or by
    /// [`close_timeout`](crate::LockPool::close_timeout).
    pub lost: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions closed because nothing was left to do.
    pub sessions_closed: u64,
    /// Sessions lost.
    pub sessions_lost: u64,
    /// Sessions that the server, or dlock itself, refused.
    pub sessions_refused: u64,
}
