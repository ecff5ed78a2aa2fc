//! The numbers of Oracle's user locks.

use crate::backend::rules::LockRules;
use crate::backend::shared::digest::digest;
use crate::backend::shared::names::{no_pairs, not_empty};
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// Locks have numbers below it.
const NUMBERS: i64 = 1 << 30;

const NAME: &str = "Oracle";

pub(super) static RULES: LockRules = LockRules {
    database: NAME,
    modes: &[
        Mode::Null,
        Mode::SubShared,
        Mode::SubExclusive,
        Mode::Shared,
        Mode::SharedSubExclusive,
        Mode::Exclusive,
    ],
    physical_key,
    refusal: None,
};

/// As sqlalchemy-dlock folds it.
fn physical_key(key: &KeyRepr) -> Result<Option<PhysicalKey>, Error> {
    let number = match key {
        KeyRepr::Text(text) => hash(text.as_bytes())?,
        KeyRepr::Bytes(bytes) => hash(bytes)?,
        KeyRepr::Int(int) => *int,
        KeyRepr::Pair(..) => return Err(no_pairs(NAME)),
    };
    Ok(Some(PhysicalKey::Int(number.rem_euclid(NUMBERS))))
}

fn hash(data: &[u8]) -> Result<i64, Error> {
    not_empty(data)?;
    Ok(digest(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sqlalchemy-dlock 0.8.1 makes of its keys; the empty one is nobody's here.
    #[test]
    fn keys_are_those_of_python() {
        const VECTORS: &str = include_str!("../../../../tests/vectors/keys.json");

        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let rows = vectors["vectors"].as_array().unwrap().iter();
        let mut checked = 0;
        for row in rows.filter(|row| row["database"] == "oracle") {
            let value = row["input"]["value"].as_str().unwrap();
            let key = match row["input"]["type"].as_str().unwrap() {
                "str" => KeyRepr::Text(value.into()),
                "bytes" => KeyRepr::Bytes(bytes(value).into()),
                "int" => match value.parse() {
                    Ok(int) => KeyRepr::Int(int),
                    // In Rust a number that is larger is no key at all.
                    Err(_) => continue,
                },
                other => panic!("no such type in Rust: {other}"),
            };
            let found = RULES.physical_key(&key);
            if value.is_empty() {
                assert!(matches!(found, Err(Error::InvalidKey { .. })), "{found:?}");
                continue;
            }
            let expected: i64 = row["key"]["value"].as_str().unwrap().parse().unwrap();
            assert_eq!(found.unwrap(), Some(PhysicalKey::Int(expected)), "{key}");
            checked += 1;
        }
        assert!(checked > 35, "{checked}");
    }

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
        (0..hexadecimal.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn update_locks_are_sql_servers() {
        let refused = RULES.check(Mode::Update);
        assert!(
            matches!(refused, Err(Error::Unsupported { .. })),
            "{refused:?}"
        );
    }
}
