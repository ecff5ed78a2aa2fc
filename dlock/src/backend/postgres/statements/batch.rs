//! Tries and releases: many in one statement.

use std::sync::{Arc, OnceLock};

use sea_query::{Expr, Func, FunctionCall, Query};

use super::identity::proof_by_parameters;
use super::query::{Call, NO_NAMES, call_of, function, text};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// One arm of a batch: many keys of one key space, one function. The statement for a batch has one
/// column for each arm that has keys, in this order: the server evaluates them from left to right,
/// so what is released can be taken again. A column is an array, which costs both sides less than a
/// row for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatementKind {
    pub(crate) release: bool,
    pub(crate) mode: Mode,
    pub(crate) pair: bool,
}

impl StatementKind {
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

    /// Its call of the batch, for one key.
    fn call_once(self, key: &str) -> FunctionCall {
        match self.release {
            true => self.call(Call::Unlock, key),
            false => self.call(Call::Try, key),
        }
    }

    pub(super) fn call(self, call: Call, key: &str) -> FunctionCall {
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
        let keys = call_of("unnest").arg(Expr::cust(format!("${parameter}::bigint[]")));
        let calls = Query::select()
            .expr(self.call_once("k"))
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

/// The statement for the arms that are present, built once per combination: its parameters are
/// their keys, in the order of [`StatementKind::index`], and then stamp and process of the session.
/// On another server session it does nothing and answers no row.
pub(crate) fn batch(present: [bool; StatementKind::COUNT]) -> Arc<str> {
    static STATEMENTS: [OnceLock<Arc<str>>; 1 << StatementKind::COUNT] =
        [const { OnceLock::new() }; 1 << StatementKind::COUNT];
    let shape = present.iter().enumerate().fold(0, |shape, (bit, present)| {
        shape | usize::from(*present) << bit
    });
    let build = || {
        let present = StatementKind::all().zip(present);
        let arms: Vec<StatementKind> = present
            .filter_map(|(arm, present)| present.then_some(arm))
            .collect();
        let columns = (1..).zip(&arms);
        let columns = columns.map(|(parameter, arm)| arm.answers(parameter));
        let proof = proof_by_parameters(arms.len() + 1);
        text(Query::select().exprs(columns).and_where(proof)).into()
    };
    Arc::clone(STATEMENTS[shape].get_or_init(build))
}

/// The same for one request, which costs the server less than a batch.
pub(crate) fn single(arm: StatementKind) -> Arc<str> {
    static STATEMENTS: [OnceLock<Arc<str>>; StatementKind::COUNT] =
        [const { OnceLock::new() }; StatementKind::COUNT];
    let build = || {
        let call = arm.call_once("$1::bigint");
        text(Query::select().expr(call).and_where(proof_by_parameters(2))).into()
    };
    Arc::clone(STATEMENTS[arm.index()].get_or_init(build))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without its proof, which begins with this parameter.
    fn unproved(text: &str, first: usize) -> &str {
        let (calls, proof) = text.rsplit_once(" WHERE ").expect("a proof");
        let (stamp, pid) = (
            format!("= (${first}::text)"),
            format!("= (${}::int4)", first + 1),
        );
        assert!(proof.contains(&stamp) && proof.contains(&pid), "{proof}");
        calls
    }

    #[test]
    fn a_batch_releases_before_it_tries_and_numbers_its_parameters() {
        let mut present = [false; StatementKind::COUNT];
        present[StatementKind::of(true, Mode::Exclusive, &PhysicalKey::Int(1)).index()] = true;
        present[StatementKind::of(false, Mode::Shared, &PhysicalKey::Pair(1, 2)).index()] = true;
        assert_eq!(
            unproved(&batch(present), 3),
            "/*dlock*/ SELECT ARRAY((SELECT pg_catalog.pg_advisory_unlock(k) FROM pg_catalog.unnest($1::bigint[]) AS \"k\")), \
             ARRAY((SELECT pg_catalog.pg_try_advisory_lock_shared((k >> 32)::int4, ((k << 32) >> 32)::int4) FROM pg_catalog.unnest($2::bigint[]) AS \"k\"))"
        );
    }

    #[test]
    fn a_request_alone_needs_no_list() {
        let arm = |key| StatementKind::of(false, Mode::Exclusive, &key);
        assert_eq!(
            unproved(&single(arm(PhysicalKey::Int(1))), 2),
            "/*dlock*/ SELECT pg_catalog.pg_try_advisory_lock($1::bigint)"
        );
        assert_eq!(
            unproved(&single(arm(PhysicalKey::Pair(1, 2))), 2),
            "/*dlock*/ SELECT pg_catalog.pg_try_advisory_lock(($1::bigint >> 32)::int4, (($1::bigint << 32) >> 32)::int4)"
        );
    }
}
