//! PRELOGIN: how client and server agree on TLS.
//!
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/60f56408-0188-4cd5-8b90-25c6f2423868>

use std::io;

use super::malformed;

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const INSTANCE: u8 = 2;
const THREAD: u8 = 3;
const MARS: u8 = 4;
const END: u8 = 0xFF;

/// The option ENCRYPTION, of a client or of the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncryptionOption {
    /// Only the login.
    Off = 0,
    /// Everything.
    On = 1,
    /// Nothing.
    NotSupported = 2,
    /// Everything, or no connection.
    Required = 3,
}

/// What a client sends first.
#[derive(Debug)]
pub(crate) struct PreLogin {
    pub(crate) encryption: EncryptionOption,
}

impl PreLogin {
    pub(crate) fn read(payload: &[u8]) -> io::Result<Self> {
        let mut table = payload;
        while let Some((&[token, high, low, ..], rest)) = table.split_first_chunk::<5>() {
            if token == END {
                break;
            }
            if token == ENCRYPTION {
                let at = usize::from(u16::from_be_bytes([high, low]));
                let value = payload
                    .get(at)
                    .ok_or_else(|| malformed("PRELOGIN: ENCRYPTION lies outside"))?;
                return Ok(Self {
                    encryption: encryption(*value)?,
                });
            }
            table = rest;
        }
        Err(malformed("PRELOGIN without ENCRYPTION"))
    }

    /// The server's own.
    pub(crate) fn answer(encryption: EncryptionOption) -> Vec<u8> {
        // 16.0.1000.0 is SQL Server 2022.
        let options: [(u8, &[u8]); 5] = [
            (VERSION, &[16, 0, 3, 232, 0, 0]),
            (ENCRYPTION, &[encryption as u8]),
            (INSTANCE, &[0]),
            (THREAD, &[]),
            (MARS, &[0]),
        ];
        let mut at = options.len() * 5 + 1;
        let mut bytes = Vec::new();
        for (token, data) in options {
            bytes.extend([token, (at >> 8) as u8, at as u8, 0, data.len() as u8]);
            at += data.len();
        }
        bytes.push(END);
        bytes.extend(options.iter().flat_map(|(_, data)| *data));
        bytes
    }
}

fn encryption(byte: u8) -> io::Result<EncryptionOption> {
    match byte {
        0 => Ok(EncryptionOption::Off),
        1 => Ok(EncryptionOption::On),
        2 => Ok(EncryptionOption::NotSupported),
        3 => Ok(EncryptionOption::Required),
        other => Err(malformed(format!("PRELOGIN: ENCRYPTION {other}"))),
    }
}
