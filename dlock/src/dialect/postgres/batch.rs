//! Tries and releases: many in one statement.

use std::sync::{Arc, OnceLock};

use sea_query::{Expr, Func, FunctionCall, Query};

use super::{Call, NO_NAMES, function, text};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// One arm of a batch: many keys of one key space, one function. The statement for a batch has one column for each arm that has keys, in this order: the server
/// evaluates them from left to right, so what is released can be taken again. A column is an array, which costs both sides less than a row for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) release: bool,
    pub(crate) mode: Mode,
    pub(crate) pair: bool,
}

impl Arm {
    pub(crate) const COUNT: usize = 8;

    pub(crate) fn of(release: bool, mode: Mode, key: &PhysicalKey) -> Self {
        let pair = matches!(key, PhysicalKey::Pair(..));
        Self {
            release,
            mode,
            pair,
        }
    }

    /// Releases come before tries.
    pub(crate) fn index(self) -> usize {
        usize::from(!self.release) << 2
            | usize::from(self.mode == Mode::Shared) << 1
            | usize::from(self.pair)
    }

    fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(|index| Self {
            release: index & 4 == 0,
            mode: match index & 2 {
                0 => Mode::Exclusive,
                _ => Mode::Shared,
            },
            pair: index & 1 == 1,
        })
    }

    fn call(self, key: &str) -> FunctionCall {
        let call = if self.release {
            Call::Unlock
        } else {
            Call::Try
        };
        let lock = Func::cust(function(call, self.mode));
        match self.pair {
            false => lock.arg(Expr::cust(key.to_owned())),
            // Arithmetic shifts: the sign of each half survives.
            true => lock
                .arg(Expr::cust(format!("({key} >> 32)::int4")))
                .arg(Expr::cust(format!("(({key} << 32) >> 32)::int4"))),
        }
    }

    fn answers(self, parameter: usize) -> FunctionCall {
        let keys = Func::cust("unnest").arg(Expr::cust(format!("${parameter}::bigint[]")));
        let calls = Query::select()
            .expr(self.call("k"))
            .from_function(keys, "k")
            .to_owned();
        Func::cust("ARRAY").arg(Expr::SubQuery(None, Box::new(calls.into())))
    }
}

/// The number that stands for a key in a batch: both halves of a pair in one.
pub(crate) fn packed(key: &PhysicalKey) -> i64 {
    match *key {
        PhysicalKey::Int(int) => int,
        PhysicalKey::Pair(a, b) => i64::from(a) << 32 | i64::from(b.cast_unsigned()),
        PhysicalKey::Name(_) => unreachable!("{NO_NAMES}"),
    }
}

/// The statement for the arms that are present, built once per combination: its parameters are their keys, in the order of [`Arm::index`].
pub(crate) fn batch(present: [bool; Arm::COUNT]) -> Arc<str> {
    static STATEMENTS: [OnceLock<Arc<str>>; 1 << Arm::COUNT] =
        [const { OnceLock::new() }; 1 << Arm::COUNT];
    let shape = present.iter().enumerate().fold(0, |shape, (bit, present)| {
        shape | usize::from(*present) << bit
    });
    let build = || {
        let present = Arm::all().zip(present);
        let arms = present.filter_map(|(arm, present)| present.then_some(arm));
        let columns = arms.zip(1..).map(|(arm, parameter)| arm.answers(parameter));
        text(Query::select().exprs(columns)).into()
    };
    Arc::clone(STATEMENTS[shape].get_or_init(build))
}

/// The statement for one request, which costs the server less than a batch: its parameter is the key.
pub(crate) fn single(arm: Arm) -> Arc<str> {
    static STATEMENTS: [OnceLock<Arc<str>>; Arm::COUNT] = [const { OnceLock::new() }; Arm::COUNT];
    let build = || text(Query::select().expr(arm.call("$1::bigint"))).into();
    Arc::clone(STATEMENTS[arm.index()].get_or_init(build))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_releases_before_it_tries_and_numbers_its_parameters() {
        let mut present = [false; Arm::COUNT];
        present[Arm::of(true, Mode::Exclusive, &PhysicalKey::Int(1)).index()] = true;
        present[Arm::of(false, Mode::Shared, &PhysicalKey::Pair(1, 2)).index()] = true;
        assert_eq!(
            &*batch(present),
            "SELECT ARRAY((SELECT pg_advisory_unlock(k) FROM unnest($1::bigint[]) AS \"k\")), \
             ARRAY((SELECT pg_try_advisory_lock_shared((k >> 32)::int4, ((k << 32) >> 32)::int4) FROM unnest($2::bigint[]) AS \"k\"))"
        );
    }

    #[test]
    fn a_request_alone_needs_no_list() {
        let arm = |key| Arm::of(false, Mode::Exclusive, &key);
        assert_eq!(
            &*single(arm(PhysicalKey::Int(1))),
            "SELECT pg_try_advisory_lock($1::bigint)"
        );
        assert_eq!(
            &*single(arm(PhysicalKey::Pair(1, 2))),
            "SELECT pg_try_advisory_lock(($1::bigint >> 32)::int4, (($1::bigint << 32) >> 32)::int4)"
        );
    }
}
