//! Locks of one host, as file locks. The operating system gives back what a process held, however
//! it ends.
//!
//! A handle holds a lock if its file is still at the lock's path *after* the file was locked. A
//! lock on a file that was unlinked in between counts as none. Only an exclusive holder unlinks,
//! since no other handle can hold the lock then. Two handles exclude each other within a process,
//! too.
//!
//! A new file is locked before a hard link brings it to its path. Where the kernel takes the link
//! for another inode (FUSE), the file comes to its path unlocked and is locked through the path, as
//! one is that was there: see [`probe`].
//!
//! The directory belongs to whom the database belongs to. Who can enter it can read the files,
//! which is all that it takes to lock them, whichever account has created them.

mod flock;
mod listing;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "elsewhere.rs")]
mod platform;
mod probe;
mod sole_name;
mod store;

pub(crate) use self::store::Files;
