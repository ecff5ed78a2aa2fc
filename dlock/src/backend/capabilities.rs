//! What works on a session beside acquiring and releasing a lock.

use std::time::Duration;

/// What works on a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capabilities {
    /// [`Session::wait`](super::Session::wait) works. Otherwise the pool retries.
    pub(crate) waits: bool,
    /// Where [`Session::gone`](super::Session::gone) does not see every end of a session: how often
    /// a session that holds locks needs a [`ping`](super::Session::ping).
    pub(crate) heartbeat: Option<Duration>,
    /// [`Session::holder_of`](super::Session::holder_of) costs a few statements, however many locks
    /// there are.
    pub(crate) tells_holders: bool,
}
