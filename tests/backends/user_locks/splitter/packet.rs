//! Packets of the protocol.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>

use std::io;

use crate::transport::Transport;

// Commands.
pub(super) const QUIT: u8 = 0x01;
pub(super) const INIT_DB: u8 = 0x02;
pub(super) const QUERY: u8 = 0x03;
pub(super) const PREPARE: u8 = 0x16;
pub(super) const EXECUTE: u8 = 0x17;
pub(super) const CLOSE: u8 = 0x19;
pub(super) const RESET: u8 = 0x1a;
pub(super) const RESET_CONNECTION: u8 = 0x1f;

// The first bytes of answers.
pub(super) const OK: u8 = 0x00;
pub(super) const LOCAL_INFILE: u8 = 0xfb;
/// Of a login: another way to authenticate.
pub(super) const AUTH_SWITCH: u8 = 0xfe;
/// Of rows: the last packet.
pub(super) const END: u8 = 0xfe;
pub(super) const ERROR: u8 = 0xff;

/// A capability: a result has no EOF packet after its columns, and an OK packet at its end.
pub(super) const DEPRECATE_EOF: u32 = 1 << 24;

// Status flags.
pub(super) const IN_TRANSACTION: u16 = 1;
pub(super) const MORE_RESULTS: u16 = 8;

/// One packet. None is longer than 16 MB here.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) number: u8,
    pub(super) payload: Vec<u8>,
}

impl Packet {
    /// The first whole one of these bytes.
    pub(super) fn take(arrived: &mut Vec<u8>) -> Option<Self> {
        let [a, b, c, number] = *arrived.first_chunk()?;
        let whole = 4 + u32::from_le_bytes([a, b, c, 0]) as usize;
        if arrived.len() < whole {
            return None;
        }
        let payload = arrived.drain(..whole).skip(4).collect();
        Some(Self { number, payload })
    }

    pub(super) async fn receive(from: &mut Transport) -> io::Result<Self> {
        loop {
            if let Some(packet) = Self::take(&mut from.arrived) {
                return Ok(packet);
            }
            from.fill().await?;
        }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let [a, b, c, _] = u32::try_from(self.payload.len())
            .expect("a packet is short")
            .to_le_bytes();
        into.extend([a, b, c, self.number]);
        into.extend(&self.payload);
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// What kind of packet it is.
    pub(super) fn first(&self) -> io::Result<u8> {
        self.payload.first().copied().ok_or_else(too_short)
    }

    /// Whether it ends the rows of a result. A row can begin with the same byte only if it is long.
    pub(super) fn is_end_of_rows(&self) -> bool {
        self.payload.first() == Some(&END) && self.payload.len() < 0xff_ffff
    }

    /// The status flags of an OK packet, or of one that ends rows in its place.
    pub(super) fn status_of_ok(&self) -> io::Result<u16> {
        let rest = self.payload.get(1..).unwrap_or_default();
        let (_affected_rows, rest) = take_integer(rest)?;
        let (_last_insert_id, rest) = take_integer(rest)?;
        let flags = rest.first_chunk().ok_or_else(too_short)?;
        Ok(u16::from_le_bytes(*flags))
    }

    /// The status flags of an EOF packet.
    pub(super) fn status_of_eof(&self) -> io::Result<u16> {
        let flags = self.payload.get(3..5).ok_or_else(too_short)?;
        Ok(u16::from_le_bytes([flags[0], flags[1]]))
    }

    /// How many columns a result has, of its first packet.
    pub(super) fn columns(&self) -> io::Result<u64> {
        Ok(take_integer(&self.payload)?.0)
    }
}

/// A length-encoded integer, and what follows it.
fn take_integer(bytes: &[u8]) -> io::Result<(u64, &[u8])> {
    let (first, rest) = bytes.split_first().ok_or_else(too_short)?;
    let length = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        value => return Ok((u64::from(*value), rest)),
    };
    let (value, rest) = rest.split_at_checked(length).ok_or_else(too_short)?;
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(value);
    Ok((u64::from_le_bytes(bytes), rest))
}

pub(super) fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a packet is too short")
}
