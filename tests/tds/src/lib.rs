//! A server in this process that speaks TDS 7.4 as SQL Server does, for the tests of the backend
//! for SQL Server.
//!
//! [`Server`] has the sockets, the sessions and the protocol, and asks an [`Answer`] what to reply to a request.
//! [`AppLocks`] is one that behaves like the application locks of SQL Server. What is simplified stands in the docs of
//! the part that does it.
#![forbid(unsafe_code)]

mod answer;
mod connection;
mod encryption;
mod locks;
mod reply;
mod server;
mod session;
mod sessions;
mod tsql;
mod value;
mod wire;

pub use answer::{Answer, Request};
pub use encryption::{Certificate, Encryption};
pub use locks::{AppLocks, Entry, Mode, Status};
pub use reply::{Close, Part, Reply, ResultSet, ServerError};
pub use server::{Options, Server};
pub use session::{Login, Session, SessionId};
pub use sessions::{Cut, Sessions};
pub use value::{Column, Kind, Value};
