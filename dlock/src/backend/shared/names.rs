//! Keys as names of locks, for databases that know locks by name.

use std::fmt::Write;
use std::sync::Arc;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};

use crate::error::Error;
use crate::key::KeyRepr;

/// The key on a database that knows locks by name.
pub(crate) fn lock_name(key: &KeyRepr, backend: &'static str) -> Result<Arc<str>, Error> {
    let text = match key {
        KeyRepr::Text(text) => text.clone(),
        KeyRepr::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => {
                return Err(Error::InvalidKey {
                    key: key.to_string(),
                    reason: "this database names locks by text, and these bytes are not UTF-8; write them as text, in hexadecimal for example",
                });
            }
        },
        KeyRepr::Int(int) => int.to_string().into(),
        KeyRepr::Pair(..) => return Err(no_pairs(backend)),
    };
    not_empty(text.as_bytes())?;
    Ok(text)
}

/// The error for a pair of integers where there are no locks for pairs.
pub(crate) fn no_pairs(backend: &'static str) -> Error {
    Error::Unsupported {
        backend,
        feature: "a pair of integers as a key",
        hint: "write it as text: `format!(\"{a},{b}\")`",
    }
}

/// Takes the place of a name that the server does not take: 32 bytes of BLAKE2b in hexadecimal, as
/// `printf %s NAME | b2sum -l 256` prints them.
pub(crate) fn hashed(name: &str) -> Arc<str> {
    hexadecimal(&Blake2b::<U32>::digest(name)).into()
}

/// As `b2sum` prints a digest, and as servers read bytes.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("BUG: a string takes everything");
    }
    text
}

/// Rejects the empty key.
pub(crate) fn not_empty(key: &[u8]) -> Result<(), Error> {
    match key {
        [] => Err(Error::InvalidKey {
            key: String::new(),
            reason: "it is empty; name what is locked",
        }),
        _ => Ok(()),
    }
}
