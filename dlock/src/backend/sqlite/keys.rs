//! SQLite: it has no locks for applications, so they are files beside the database, named for the keys.

use crate::backend::rules::{Dialect, hexadecimal, lock_name};
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use blake2::{Blake2b512, Digest};

/// The dialect of SQLite.
#[derive(Debug)]
pub(crate) struct Sqlite;

impl Dialect for Sqlite {
    fn backend(&self) -> &'static str {
        "SQLite"
    }

    fn physical_key(&self, key: &KeyRepr) -> Result<Option<PhysicalKey>, Error> {
        let name = lock_name(key, self.backend())?;
        Ok(Some(PhysicalKey::Name(name)))
    }
}

/// The file of a lock: the BLAKE2b digest of its name in hexadecimal, as `printf %s NAME | b2sum` prints it.
pub(crate) fn file_name(key: &PhysicalKey) -> String {
    hexadecimal(&Blake2b512::digest(key.to_string()))
}

/// Of BLAKE2b's 64 bytes.
pub(crate) const FILE_NAME_LENGTH: usize = 128;

/// The first row is the main database. sea-query has no words for a pragma, and a `SELECT` from it would wait for whoever locks the database.
/// <https://www.sqlite.org/pragma.html#pragma_database_list>
pub(crate) const DATABASE_LIST: &str = "PRAGMA database_list";

/// Its column with the absolute path without symbolic links, empty for a database in memory.
pub(crate) const FILE: &str = "file";

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
