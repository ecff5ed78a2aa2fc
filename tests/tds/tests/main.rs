//! What the server does, seen through tiberius.
#![allow(clippy::unwrap_used, reason = "all of this is tests, its helpers too")]

mod client;
mod cut;
mod encryption;
mod locks;
mod packets;
mod process;
mod protocol;
mod queue;
mod sessions;
mod tsql;
mod withdraw;
