//! Sessions without a server, for locks that end at the host or the process.

mod memory;
mod session;

pub(crate) use self::memory::Memory;
pub(crate) use self::session::{Hold, LONGEST_TURN, Listing, LocalSession, Place, process};
