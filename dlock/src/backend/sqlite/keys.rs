//! The names of locks on SQLite, and of their files.

use blake2::{Blake2b512, Digest};

use crate::backend::rules::LockRules;
use crate::backend::shared::names::{hexadecimal, lock_name};
use crate::key::PhysicalKey;
use crate::mode::Mode;

const NAME: &str = "SQLite";

pub(super) static RULES: LockRules = LockRules {
    database: NAME,
    modes: &[Mode::Exclusive, Mode::Shared],
    physical_key: |key| Ok(Some(PhysicalKey::Name(lock_name(key, NAME)?))),
    refusal: None,
};

/// The file of a lock: the BLAKE2b digest of its name in hexadecimal, as `printf %s NAME | b2sum`
/// prints it.
pub(crate) fn file_name(key: &PhysicalKey) -> String {
    hexadecimal(&Blake2b512::digest(key.to_string()))
}

/// Of BLAKE2b's 64 bytes.
pub(crate) const FILE_NAME_LENGTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_named_as_b2sum_says() {
        let key = PhysicalKey::Name("abc".into());
        assert_eq!(file_name(&key).len(), FILE_NAME_LENGTH);
        assert_eq!(
            file_name(&key),
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
             7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
        );
    }
}
