//! Messages, and the packets they are cut into.
//!
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/7af53667-1b72-4703-8258-7984e838f746>

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::malformed;

/// What SQL Server uses unless a client asks for another; the handshake is in packets of that size.
pub(crate) const PACKET_SIZE: usize = 4096;

const HEADER: usize = 8;
const END_OF_MESSAGE: u8 = 1;

/// The kinds of messages.
pub(crate) mod kind {
    pub(crate) const BATCH: u8 = 1;
    pub(crate) const CALL: u8 = 3;
    pub(crate) const ANSWER: u8 = 4;
    pub(crate) const ATTENTION: u8 = 6;
    pub(crate) const LOGIN: u8 = 16;
    pub(crate) const PRELOGIN: u8 = 18;
}

/// A message, put together again.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

/// What has arrived and is not a whole message yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    payload: Vec<u8>,
}

impl Incoming {
    /// The next message; none if the client closed the connection.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: what has been read stays in here.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message));
            }
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whether nothing has been read of what comes after the last message.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.payload.is_empty()
    }

    fn message(&mut self) -> io::Result<Option<Message>> {
        while let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER>() {
            let [kind, status, high, low, ..] = *header;
            let length = usize::from(u16::from_be_bytes([high, low]))
                .checked_sub(HEADER)
                .ok_or_else(|| malformed("a packet shorter than its header"))?;
            let Some(part) = rest.get(..length) else {
                return Ok(None);
            };
            self.payload.extend_from_slice(part);
            self.bytes.drain(..HEADER + length);
            if status & END_OF_MESSAGE != 0 {
                return Ok(Some(Message {
                    kind,
                    payload: std::mem::take(&mut self.payload),
                }));
            }
        }
        Ok(None)
    }
}

/// The message in packets of at most `size` bytes; one without a payload is a packet as well.
pub(crate) fn packets(kind: u8, session: i16, payload: &[u8], size: usize) -> Vec<u8> {
    let parts: Vec<&[u8]> = if payload.is_empty() {
        vec![payload]
    } else {
        payload.chunks(size - HEADER).collect()
    };
    let mut bytes = Vec::with_capacity(payload.len() + parts.len() * HEADER);
    for (number, part) in parts.iter().enumerate() {
        let status = if number + 1 == parts.len() {
            END_OF_MESSAGE
        } else {
            0
        };
        let length =
            u16::try_from(HEADER + part.len()).expect("BUG: a packet size is at most 32767");
        bytes.extend([kind, status]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(session.to_be_bytes());
        // Packets are numbered from 1, modulo 256; the last byte is not used.
        bytes.extend([(number as u8).wrapping_add(1), 0]);
        bytes.extend_from_slice(part);
    }
    bytes
}
