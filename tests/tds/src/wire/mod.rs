//! TDS as it is on the wire, and nothing of what it means to anybody.
//!
//! [MS-TDS]: <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds>

mod bytes;
mod login;
mod packet;
mod prelogin;
mod request;
mod socket;
mod stream;
mod tokens;

pub(crate) use {
    bytes::malformed,
    login::Login7,
    packet::{Incoming, Message, PACKET_SIZE, kind, packets},
    prelogin::{EncryptionOption, PreLogin},
    request::{batch, procedure_call},
    socket::Socket,
    stream::Stream,
    tokens::{Flow, Tokens},
};
