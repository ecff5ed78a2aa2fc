//! Sessions without a server, for locks that end at the host or the process.

mod memory;
mod place;
mod session;

pub(crate) use self::memory::Memory;
pub(crate) use self::place::{LONGEST_TURN, Listing, Place, process};
pub(crate) use self::session::LocalSession;
