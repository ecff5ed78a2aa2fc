//! Messages of the protocol.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use std::io;

use crate::transport::Transport;

// From the client.
pub(super) const BIND: u8 = b'B';
pub(super) const CLOSE: u8 = b'C';
pub(super) const DESCRIBE: u8 = b'D';
pub(super) const EXECUTE: u8 = b'E';
pub(super) const PARSE: u8 = b'P';
pub(super) const QUERY: u8 = b'Q';
pub(super) const SYNC: u8 = b'S';
pub(super) const TERMINATE: u8 = b'X';

// From the server.
pub(super) const AUTHENTICATION: u8 = b'R';
pub(super) const BACKEND_KEY_DATA: u8 = b'K';
pub(super) const DATA_ROW: u8 = b'D';
pub(super) const ERROR_RESPONSE: u8 = b'E';
pub(super) const PARSE_COMPLETE: u8 = b'1';
pub(super) const READY_FOR_QUERY: u8 = b'Z';

/// The status of a session without an open transaction, in a ReadyForQuery.
pub(super) const IDLE: u8 = b'I';

/// The kind of object that a Describe or Close means.
pub(super) const STATEMENT: u8 = b'S';

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

impl Message {
    pub(super) fn new(kind: u8, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { kind, body }
    }

    pub(super) fn query(sql: &str) -> Self {
        Self::new(QUERY, [sql.as_bytes(), b"\0"].concat())
    }

    /// An error that ends the connection.
    pub(super) fn fatal(code: &str, message: &str) -> Self {
        let body = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
        Self::new(ERROR_RESPONSE, body)
    }

    /// The first whole one of these bytes.
    pub(super) fn take(arrived: &mut Vec<u8>) -> Option<Self> {
        let length = u32::from_be_bytes(arrived.get(1..5)?.try_into().expect("four bytes"));
        let whole = 1 + length as usize;
        if arrived.len() < whole {
            return None;
        }
        let kind = arrived[0];
        let body = arrived.drain(..whole).skip(5).collect();
        Some(Self { kind, body })
    }

    pub(super) async fn receive(from: &mut Transport) -> io::Result<Self> {
        loop {
            if let Some(message) = Self::take(&mut from.arrived) {
                return Ok(message);
            }
            from.fill().await?;
        }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let length = u32::try_from(self.body.len() + 4).expect("a message is short");
        into.push(self.kind);
        into.extend(length.to_be_bytes());
        into.extend(&self.body);
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }
}

/// The text before the next NUL, and what follows it.
pub(super) fn split_text(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}
