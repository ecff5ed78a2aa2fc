//! Locks of one host, as file locks. The operating system gives back what a process held, however
//! it ends.
//!
//! A lock is held by whoever has the lock on the file that is at its path *after* it was taken: a
//! file that was unlinked in between is nobody's. Only an exclusive holder unlinks, since he alone
//! knows that nobody else holds. Two handles exclude each other within a process, too.
//!
//! A new file is locked before a hard link brings it to its path. Where the kernel takes the link
//! for another inode (FUSE), the file comes to its path unlocked and is locked through the path, as
//! one is that was there: see [`probe`].
//!
//! The directory belongs to whom the database belongs to. Who can enter it can read the files,
//! which is all that it takes to lock them, whoever has created them.

mod flock;
mod listing;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "elsewhere.rs")]
mod platform;
mod probe;
mod sole_name;
mod store;

pub(crate) use self::store::Files;
