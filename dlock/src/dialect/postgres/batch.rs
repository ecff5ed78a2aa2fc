//! Tries and releases: many in one statement.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use sea_query::{Expr, Func, FunctionCall, Query, SelectStatement};

use super::identity::Identity;
use super::{Call, NO_NAMES, call_of, function, text};
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

/// The statements of one session for tries and releases. Each has the proof of that session in it:
/// on another server session it does nothing and answers no row.
#[derive(Debug)]
pub(crate) struct Statements {
    identity: Identity,
    texts: HashMap<Shape, Arc<str>>,
}

/// Each is built once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    /// The [index](Arm::index) of its arm.
    Single(usize),
    /// A bit for each arm that is present.
    Batch(usize),
}

impl Statements {
    pub(crate) fn of(identity: Identity) -> Self {
        Self {
            identity,
            texts: HashMap::new(),
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// For the arms that are present: its parameters are their keys, in the order of [`Arm::index`].
    pub(crate) fn batch(&mut self, present: [bool; Arm::COUNT]) -> Arc<str> {
        let shape = present.iter().enumerate().fold(0, |shape, (bit, present)| {
            shape | usize::from(*present) << bit
        });
        self.text(Shape::Batch(shape), || {
            let present = Arm::all().zip(present);
            let arms = present.filter_map(|(arm, present)| present.then_some(arm));
            let columns = arms.zip(1..).map(|(arm, parameter)| arm.answers(parameter));
            Query::select().exprs(columns).to_owned()
        })
    }

    /// For one request, which costs the server less than a batch: its parameter is the key.
    pub(crate) fn single(&mut self, arm: Arm) -> Arc<str> {
        self.text(Shape::Single(arm.index()), || {
            Query::select().expr(arm.call_once("$1::bigint")).to_owned()
        })
    }

    fn text(&mut self, shape: Shape, build: impl FnOnce() -> SelectStatement) -> Arc<str> {
        let Self { identity, texts } = self;
        let text = texts
            .entry(shape)
            .or_insert_with(|| text(build().and_where(identity.proof())).into());
        Arc::clone(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements() -> Statements {
        Statements::of(Identity::new("c0ffee", 4242, 1))
    }

    /// Without its proof.
    fn unproved(text: &str) -> &str {
        let (calls, proof) = text.rsplit_once(" WHERE ").expect("a proof");
        assert!(
            proof.contains("'c0ffee 4242 1'") && proof.contains("= 4242"),
            "{proof}"
        );
        calls
    }

    #[test]
    fn a_batch_releases_before_it_tries_and_numbers_its_parameters() {
        let mut present = [false; Arm::COUNT];
        present[Arm::of(true, Mode::Exclusive, &PhysicalKey::Int(1)).index()] = true;
        present[Arm::of(false, Mode::Shared, &PhysicalKey::Pair(1, 2)).index()] = true;
        assert_eq!(
            unproved(&statements().batch(present)),
            "/*dlock*/ SELECT ARRAY((SELECT pg_catalog.pg_advisory_unlock(k) FROM pg_catalog.unnest($1::bigint[]) AS \"k\")), \
             ARRAY((SELECT pg_catalog.pg_try_advisory_lock_shared((k >> 32)::int4, ((k << 32) >> 32)::int4) FROM pg_catalog.unnest($2::bigint[]) AS \"k\"))"
        );
    }

    #[test]
    fn a_request_alone_needs_no_list() {
        let arm = |key| Arm::of(false, Mode::Exclusive, &key);
        let mut statements = statements();
        assert_eq!(
            unproved(&statements.single(arm(PhysicalKey::Int(1)))),
            "/*dlock*/ SELECT pg_catalog.pg_try_advisory_lock($1::bigint)"
        );
        assert_eq!(
            unproved(&statements.single(arm(PhysicalKey::Pair(1, 2)))),
            "/*dlock*/ SELECT pg_catalog.pg_try_advisory_lock(($1::bigint >> 32)::int4, (($1::bigint << 32) >> 32)::int4)"
        );
    }
}
