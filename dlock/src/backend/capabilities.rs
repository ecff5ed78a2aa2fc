//! What works on a backend beside acquiring and releasing a lock.

use std::time::Duration;

/// What works on a backend, or on one session of it.
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
    /// A session can make a lock that it holds stronger: [`UpgradeLocks`](super::UpgradeLocks).
    pub(crate) upgrades: bool,
}
