//! The keys under which other libraries lock on PostgreSQL: a service with one of them and a
//! service with dlock exclude each other.
//!
//! | the other service locks `"invoice/42"` with | here it is |
//! |---|---|
//! | sqlalchemy-dlock (Python), also on MySQL and MariaDB | `db.dlock("invoice/42")`: its keys are dlock's own |
//! | PyMySQLLock (Python), on MySQL and MariaDB | `db.dlock("invoice/42")`: names go to the server unchanged |
//! | postgres-lock (Python), and [postgresql-lock](https://pypi.org/project/postgresql-lock/) 0.1.5, its next name | `db.dlock(compat::postgres_lock("invoice/42"))` |
//! | postgresql-lock (Python) from 0.1.6 on, which has other keys | `db.dlock(compat::postgresql_lock("invoice/42"))` |
//! | [`PgAdvisoryLock::new`](sea_orm::sqlx::postgres::PgAdvisoryLock::new) of sqlx | `db.dlock(compat::sqlx("invoice/42"))` |
//! | [`PgAdvisoryLock::with_key`](sea_orm::sqlx::postgres::PgAdvisoryLock::with_key) of sqlx | its number or pair is the key: `db.dlock(42_i64)`, `db.dlock((7, 42))` |
//!
//! The functions answer with an integer key. A `namespace` would make another key of it: take these
//! locks on a `LockPool` without one. Both services have to use one database, not only one server.
//!
//! ```no_run
//! # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), dlock::Error> {
//! use dlock::compat;
//! use dlock::prelude::*;
//!
//! let guard = db.dlock(compat::postgres_lock("invoice/42")).await?;
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```

use sea_orm::sqlx::postgres::PgAdvisoryLock;
use sha1::{Digest, Sha1};

use crate::key::Key;

/// The key that Python's postgres-lock 0.1.4 locks for this text, and postgresql-lock 0.1.5: the
/// first 18 decimal digits of its SHA-1, read as one big-endian number.
///
/// The library hashes what Python's `str` makes of a key: the number 42 is `"42"` here, `True` is
/// `"True"`, `None` is `"None"`, and the bytes `b"abc"` are `"b'abc'"`. Its `shared=True` is
/// `.shared()`, its `scope="transaction"` is `.xact()`.
///
/// # Examples
///
/// ```
/// use dlock::{Key, compat};
///
/// // Lock(conn, "my-resource-key").lock_id
/// assert_eq!(compat::postgres_lock("my-resource-key"), Key::from(102_317_769_685_295_290_i64));
/// ```
#[must_use]
pub fn postgres_lock(text: impl AsRef<str>) -> Key {
    first_18_digits(sha1(text.as_ref())).into()
}

/// The key that Python's postgresql-lock 0.1.6 to 0.2.2 locks for this text: the first 8 bytes of
/// its SHA-1, as a signed big-endian number.
///
/// It is what became of postgres-lock, with other keys; for the rest it is like [`postgres_lock`].
///
/// # Examples
///
/// ```
/// use dlock::{Key, compat};
///
/// // Lock(conn, "invoice/42").lock_id
/// assert_eq!(compat::postgresql_lock("invoice/42"), Key::from(4_725_943_849_029_052_548_i64));
/// ```
#[must_use]
pub fn postgresql_lock(text: impl AsRef<str>) -> Key {
    let [a, b, c, d, e, f, g, h, ..] = sha1(text.as_ref());
    i64::from_be_bytes([a, b, c, d, e, f, g, h]).into()
}

/// The key that [`PgAdvisoryLock::new`] of sqlx makes of this text, which sqlx guarantees to be
/// stable.
///
/// A `PgAdvisoryLock` is always exclusive and always of a session; `.shared()` and `.xact()`
/// respect it all the same.
///
/// # Examples
///
/// ```
/// use dlock::{Key, compat};
///
/// // The vector in sqlx's own documentation.
/// let key = compat::sqlx("my first Postgres advisory lock!");
/// assert_eq!(key, Key::from(-5_560_419_505_042_474_287_i64));
/// ```
#[must_use]
pub fn sqlx(text: impl AsRef<str>) -> Key {
    let number = PgAdvisoryLock::new(text).key().as_bigint();
    number.expect("BUG: sqlx makes a number of a text").into()
}

fn sha1(text: &str) -> [u8; 20] {
    Sha1::digest(text).into()
}

fn first_18_digits(mut number: [u8; 20]) -> i64 {
    loop {
        if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low @ ..] = number {
            let low = i64::from_be_bytes(low);
            if (0..10_i64.pow(18)).contains(&low) {
                return low;
            }
        }
        divide_by_ten(&mut number);
    }
}

/// Long division, byte by byte.
fn divide_by_ten(number: &mut [u8]) {
    number.iter_mut().fold(0, |rest, byte| {
        let part = rest << 8 | u16::from(*byte);
        *byte = (part / 10) as u8;
        part % 10
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by postgresql-lock 0.1.9.
    #[test]
    fn the_keys_of_postgresql_lock_are_signed() {
        for (text, key) in [
            ("", -2_721_964_255_587_120_371_i64),
            ("my-resource-key", -5_532_425_927_447_624_738),
            ("42", -7_867_842_753_158_719_212),
            ("héllo", 3_870_257_040_188_514_168),
            ("😀", -7_182_337_020_139_034_536),
            ("b'abc'", -2_149_657_976_481_618_387),
        ] {
            assert_eq!(postgresql_lock(text), Key::from(key), "{text}");
        }
    }

    #[test]
    fn a_number_has_its_first_digits_whatever_its_length() {
        let number = |number: u128| {
            let mut bytes = [0; 20];
            bytes[4..].copy_from_slice(&number.to_be_bytes());
            first_18_digits(bytes)
        };
        assert_eq!(number(0), 0);
        assert_eq!(number(42), 42);
        assert_eq!(number(999_999_999_999_999_999), 999_999_999_999_999_999);
        assert_eq!(number(1_000_000_000_000_000_009), 100_000_000_000_000_000);
        assert_eq!(number(u64::MAX.into()), 184_467_440_737_095_516);
        assert_eq!(number(u128::MAX), 340_282_366_920_938_463);
        assert_eq!(first_18_digits([0xff; 20]), 146_150_163_733_090_291);
    }
}
