//! The numbers of PostgreSQL's advisory locks.

use crate::backend::rules::LockRules;
use crate::backend::shared::digest::digest;
use crate::backend::shared::names::not_empty;
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

pub(super) static RULES: LockRules = LockRules {
    database: "PostgreSQL",
    modes: &[Mode::Exclusive, Mode::Shared],
    physical_key: |key| physical_key(key).map(Some),
    refusal: None,
};

pub(super) fn physical_key(key: &KeyRepr) -> Result<PhysicalKey, Error> {
    match key {
        KeyRepr::Text(text) => hash(text.as_bytes()),
        KeyRepr::Bytes(bytes) => hash(bytes),
        KeyRepr::Int(int) => Ok(PhysicalKey::Int(*int)),
        KeyRepr::Pair(a, b) => Ok(PhysicalKey::Pair(*a, *b)),
    }
}

fn hash(data: &[u8]) -> Result<PhysicalKey, Error> {
    not_empty(data)?;
    Ok(PhysicalKey::Int(digest(data)))
}
