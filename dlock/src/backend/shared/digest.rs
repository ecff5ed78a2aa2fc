//! The number of a text or of bytes. Each thread remembers some: for a lock that goes from one
//! local holder to the next, BLAKE2b would be a third of the work.

use std::cell::RefCell;
use std::hash::BuildHasher;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest};
use foldhash::fast::FixedState;

const REMEMBERED: usize = 256;

/// Longer ones are not remembered.
const SHORT: usize = 47;

#[derive(Clone, Copy)]
struct Remembered {
    number: i64,
    /// Zero: nothing yet.
    length: u8,
    data: [u8; SHORT],
}

thread_local! {
    static LAST: RefCell<[Remembered; REMEMBERED]> = const { RefCell::new([Remembered::NOTHING; REMEMBERED]) };
}

impl Remembered {
    const NOTHING: Self = Self {
        number: 0,
        length: 0,
        data: [0; SHORT],
    };

    fn new(short: &[u8]) -> Self {
        let mut data = [0; SHORT];
        data[..short.len()].copy_from_slice(short);
        Self {
            number: hash(short),
            length: short.len() as u8,
            data,
        }
    }

    fn data(&self) -> &[u8] {
        &self.data[..self.length.into()]
    }
}

/// Of what is not empty.
pub(crate) fn digest(data: &[u8]) -> i64 {
    if data.len() > SHORT {
        return hash(data);
    }
    let place = FixedState::with_seed(0).hash_one(data) as usize % REMEMBERED;
    LAST.with_borrow_mut(|last| {
        let last = &mut last[place];
        if last.data() != data {
            *last = Remembered::new(data);
        }
        last.number
    })
}

/// sqlalchemy-dlock reads the digest in the byte order of its host; little-endian is what every
/// host of Python in practice has.
fn hash(data: &[u8]) -> i64 {
    i64::from_le_bytes(Blake2b::<U8>::digest(data).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_the_hash_whoever_had_the_place_before() {
        let long = "x".repeat(2 * SHORT);
        for key in (0..4_000).map(|number| number % 1_000) {
            for data in [&long[..key % (2 * SHORT) + 1], &format!("key/{key}")] {
                assert_eq!(digest(data.as_bytes()), hash(data.as_bytes()), "{data}");
                assert_eq!(digest(data.as_bytes()), hash(data.as_bytes()), "{data}");
            }
        }
    }
}
