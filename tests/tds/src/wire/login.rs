//! LOGIN7: who a client is.
//!
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/773a62b6-ee89-4c02-9e5e-344882630aac>

use std::io;

use super::{PACKET_SIZE, bytes::Bytes, malformed};
use crate::Login;

const TDS_7_4: u32 = 0x7400_0004;
const INTEGRATED_SECURITY: u8 = 0x80;

/// Where the fixed part has the things needed here.
mod at {
    pub(super) const VERSION: usize = 4;
    pub(super) const PACKET_SIZE: usize = 8;
    pub(super) const FLAGS_2: usize = 25;
    pub(super) const HOST: usize = 36;
    pub(super) const USER: usize = 40;
    pub(super) const APPLICATION: usize = 48;
    pub(super) const DATABASE: usize = 68;
}

/// The message of a client that logs in.
#[derive(Debug)]
pub(crate) struct Login7 {
    pub(crate) login: Login,
    /// What both sides use from now on.
    pub(crate) packet_size: usize,
}

impl Login7 {
    pub(crate) fn read(payload: &[u8]) -> io::Result<Self> {
        let version = number(payload, at::VERSION)?;
        if version != TDS_7_4 {
            return Err(malformed(format!(
                "LOGIN7 of TDS version {version:#x}; 7.4 is spoken here"
            )));
        }
        if Bytes(payload.get(at::FLAGS_2..).unwrap_or_default()).u8()? & INTEGRATED_SECURITY != 0 {
            return Err(malformed(
                "LOGIN7 with integrated security; only SQL logins are known here",
            ));
        }
        Ok(Self {
            login: login(payload)?,
            packet_size: packet_size(number(payload, at::PACKET_SIZE)?),
        })
    }
}

fn login(payload: &[u8]) -> io::Result<Login> {
    let database = text(payload, at::DATABASE)?;
    Ok(Login {
        user: text(payload, at::USER)?,
        database: if database.is_empty() {
            "master".to_owned()
        } else {
            database
        },
        application: text(payload, at::APPLICATION)?,
        host: text(payload, at::HOST)?,
    })
}

fn packet_size(asked: u32) -> usize {
    match asked as usize {
        0 => PACKET_SIZE,
        asked => asked.clamp(512, 32767),
    }
}

fn number(payload: &[u8], at: usize) -> io::Result<u32> {
    Bytes(payload.get(at..).unwrap_or_default()).u32()
}

fn text(payload: &[u8], at: usize) -> io::Result<String> {
    let mut place = Bytes(payload.get(at..).unwrap_or_default());
    let (offset, units) = (place.u16()?.into(), place.u16()?.into());
    Bytes(payload.get(offset..).unwrap_or_default()).text(units)
}
