//! PostgreSQL: advisory locks.
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest};
use sea_query::{
    Expr, ExprTrait, Func, FunctionCall, PostgresQueryBuilder, Query, SelectStatement, UnionType,
};

use super::{Dialect, TransactionLocks, WaitOutcome, not_empty};
use crate::error::Error;
use crate::key::{Key, KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// The dialect of PostgreSQL.
#[derive(Debug)]
pub(crate) struct Postgres;

impl Dialect for Postgres {
    fn physical_key(&self, key: &Key) -> Result<Option<PhysicalKey>, Error> {
        physical_key(key).map(Some)
    }
}

fn physical_key(key: &Key) -> Result<PhysicalKey, Error> {
    match key.repr() {
        KeyRepr::Text(text) => hash(text.as_bytes()),
        KeyRepr::Bytes(bytes) => hash(bytes),
        KeyRepr::Int(int) => Ok(PhysicalKey::Int(*int)),
        KeyRepr::Pair(a, b) => Ok(PhysicalKey::Pair(*a, *b)),
    }
}

/// sqlalchemy-dlock reads the digest in the byte order of its host; little-endian is what every host of Python in practice has.
fn hash(data: &[u8]) -> Result<PhysicalKey, Error> {
    not_empty(data)?;
    let digest: [u8; 8] = Blake2b::<U8>::digest(data).into();
    Ok(PhysicalKey::Int(i64::from_le_bytes(digest)))
}

/// Which of the server's functions: `pg_[try_]advisory[_xact]_{lock|unlock}[_shared]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Unlock,
    Try,
    Wait,
    TryInTransaction,
    WaitInTransaction,
}

fn function(call: Call, mode: Mode) -> &'static str {
    match (call, mode) {
        (Call::Unlock, Mode::Exclusive) => "pg_advisory_unlock",
        (Call::Unlock, Mode::Shared) => "pg_advisory_unlock_shared",
        (Call::Try, Mode::Exclusive) => "pg_try_advisory_lock",
        (Call::Try, Mode::Shared) => "pg_try_advisory_lock_shared",
        (Call::Wait, Mode::Exclusive) => "pg_advisory_lock",
        (Call::Wait, Mode::Shared) => "pg_advisory_lock_shared",
        (Call::TryInTransaction, Mode::Exclusive) => "pg_try_advisory_xact_lock",
        (Call::TryInTransaction, Mode::Shared) => "pg_try_advisory_xact_lock_shared",
        (Call::WaitInTransaction, Mode::Exclusive) => "pg_advisory_xact_lock",
        (Call::WaitInTransaction, Mode::Shared) => "pg_advisory_xact_lock_shared",
    }
}

/// One arm of a batch: many keys of one key space, one function. The statement for a batch is one `SELECT` per arm that has keys,
/// in this order, joined by `UNION ALL`: an `Append` runs them one after the other, so what is released can be taken again.
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

    fn select(self, parameter: usize) -> SelectStatement {
        let call = if self.release {
            Call::Unlock
        } else {
            Call::Try
        };
        let keys = Func::cust("unnest").arg(Expr::cust(format!("${parameter}::bigint[]")));
        let lock = Func::cust(function(call, self.mode));
        let lock = match self.pair {
            false => lock.arg(Expr::col("k")),
            // Arithmetic shifts: the sign of each half survives.
            true => lock
                .arg(Expr::cust("(k >> 32)::int4"))
                .arg(Expr::cust("((k << 32) >> 32)::int4")),
        };
        Query::select()
            .expr(lock)
            .from_function(keys, "k")
            .to_owned()
    }
}

const NO_NAMES: &str = "BUG: PostgreSQL knows locks by number";

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
        Arm::all()
            .zip(present)
            .filter_map(|(arm, present)| present.then_some(arm))
            .zip(1..)
            .map(|(arm, parameter)| arm.select(parameter))
            .reduce(|mut all, arm| all.union(UnionType::All, arm).to_owned())
            .expect("BUG: a batch has at least one request")
            .to_string(PostgresQueryBuilder)
            .into()
    };
    Arc::clone(STATEMENTS[shape].get_or_init(build))
}

/// `select.to_string` for statements without values.
fn text(select: &SelectStatement) -> String {
    select.to_string(PostgresQueryBuilder)
}

/// What a lock session must know of its server: the token that it sent as a start-up option, as the server has it; whether this is a hot standby;
/// whether there is PL/pgSQL to wait in; what the application calls itself; the server's number for the session.
pub(crate) fn server() -> String {
    text(
        Query::select()
            .expr(setting(SESSION_TOKEN))
            .expr(Func::cust("pg_is_in_recovery"))
            .expr(has_plpgsql())
            .expr(setting("application_name"))
            .expr(Func::cust("pg_backend_pid")),
    )
}

/// Apart from [`server`], since a server that only speaks PostgreSQL's protocol may lack what that asks.
pub(crate) fn version() -> String {
    text(Query::select().expr(Func::cust("version")))
}

/// The setting by which a session recognises itself behind a proxy.
pub(crate) const SESSION_TOKEN: &str = "dlock.session";

fn setting(name: &'static str) -> FunctionCall {
    Func::cust("current_setting").arg(name).arg(true)
}

fn has_plpgsql() -> Expr {
    let installed = Query::select()
        .expr(Expr::val(1))
        .from("pg_language")
        .and_where(Expr::col("lanname").eq("plpgsql"))
        .and_where(
            Func::cust("has_language_privilege")
                .arg(Expr::col("oid"))
                .arg("USAGE")
                .into(),
        )
        .to_owned();
    Expr::exists(installed)
}

/// Settings of the session, all of them or none.
pub(crate) fn set_session(settings: &[(&str, String)]) -> String {
    let set = |(name, value): &(&str, String)| {
        Func::cust("set_config")
            .arg(*name)
            .arg(value.as_str())
            .arg(false)
    };
    text(Query::select().exprs(settings.iter().map(set)))
}

/// Leaves the session with no session lock at all.
pub(crate) fn unlock_all() -> String {
    text(Query::select().expr(Func::cust("pg_advisory_unlock_all")))
}

/// The smallest statement that needs the server's answer.
pub(crate) fn ping() -> String {
    text(Query::select().expr(Expr::val(1)))
}

/// A column of [`advisory_locks`].
fn column(name: &'static str) -> Expr {
    Expr::col(("l", name))
}

fn packed_key() -> Expr {
    Expr::cust("((l.classid::bigint << 32) | l.objid::bigint)")
}

fn is_pair() -> Expr {
    column("objsubid").eq(2)
}

fn is_shared() -> Expr {
    column("mode").eq("ShareLock")
}

/// Every advisory lock of this database.
fn advisory_locks() -> SelectStatement {
    Query::select()
        .from_as("pg_locks", "l")
        .and_where(column("locktype").eq("advisory"))
        .and_where(column("database").eq(Expr::cust(
            "(SELECT oid FROM pg_database WHERE datname = current_database())",
        )))
        .to_owned()
}

/// Every advisory lock of this database: the packed key, whether it is a pair, shared, granted; process id and application name.
pub(crate) fn locks() -> String {
    text(
        advisory_locks()
            .expr(packed_key())
            .expr(is_pair())
            .expr(is_shared())
            .expr(column("granted"))
            .expr(column("pid"))
            .expr(Func::coalesce([
                Expr::col(("a", "application_name")),
                Expr::val(""),
            ]))
            .left_join(
                sea_query::TableRef::from("pg_stat_activity").alias("a"),
                Expr::col(("a", "pid")).equals(("l", "pid")),
            ),
    )
}

/// This lock, if the session of this process holds it.
fn lock_of(key: &PhysicalKey, mode: Mode, pid: i64) -> SelectStatement {
    let pair = matches!(key, PhysicalKey::Pair(..));
    advisory_locks()
        .and_where(column("granted"))
        .and_where(column("pid").eq(pid))
        .and_where(packed_key().eq(packed(key)))
        .and_where(is_pair().eq(pair))
        .and_where(is_shared().eq(mode == Mode::Shared))
        .to_owned()
}

/// A row if the session of this process holds this lock.
pub(crate) fn held(key: &PhysicalKey, mode: Mode, pid: i64) -> String {
    text(lock_of(key, mode, pid).expr(Expr::val(1)))
}

/// Ends that session. <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL>
pub(crate) fn end_holder(key: &PhysicalKey, mode: Mode, pid: i64) -> String {
    let end = Func::cust("pg_terminate_backend").arg(column("pid"));
    text(lock_of(key, mode, pid).expr(end))
}

/// A row if a transaction has begun before this statement.
pub(crate) fn in_transaction() -> String {
    let begun = Expr::expr(Func::cust("transaction_timestamp"));
    text(
        Query::select()
            .expr(Expr::val(1))
            .and_where(begun.ne(Func::cust("statement_timestamp"))),
    )
}

/// sea-query has no words for it.
pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// The key of a row of [`locks`].
pub(crate) fn unpacked(packed: i64, pair: bool) -> PhysicalKey {
    match pair {
        false => PhysicalKey::Int(packed),
        true => PhysicalKey::Pair((packed >> 32) as i32, packed as i32),
    }
}

/// A slice of a wait on a session that holds nothing else. The answer is a boolean.
///
/// sea-query has no words for `DO`, and only a block can end a wait without an error in the server's log. A lock that was granted although the wait failed
/// (one in ten near the deadline) goes with everything else in `pg_advisory_unlock_all`, so that a wait that was not granted holds nothing.
pub(crate) fn wait(key: &PhysicalKey, mode: Mode, slice: Duration) -> String {
    let lock = call(Call::Wait, key, mode);
    let slice = milliseconds(slice);
    format!(
        "DO $dlock$ BEGIN \
           PERFORM set_config('lock_timeout', '{slice}', true); \
           PERFORM {lock}; \
           PERFORM set_config('dlock.granted', 'true', false); \
         EXCEPTION WHEN lock_not_available THEN \
           PERFORM pg_advisory_unlock_all(); \
           PERFORM set_config('dlock.granted', 'false', false); \
         END $dlock$; \
         SELECT current_setting('dlock.granted')::boolean"
    )
}

/// `lock_timeout` counts whole milliseconds, and 0 means forever.
fn milliseconds(slice: Duration) -> u64 {
    slice.as_micros().div_ceil(1000).clamp(1, i32::MAX as u128) as u64
}

/// The function call with the key written into it: numbers only, so nothing needs quoting.
fn call(call: Call, key: &PhysicalKey, mode: Mode) -> String {
    let function = function(call, mode);
    match key {
        // The smallest bigint cannot be written as a negated literal.
        PhysicalKey::Int(int) => format!("{function}('{int}'::bigint)"),
        PhysicalKey::Pair(a, b) => format!("{function}('{a}'::int, '{b}'::int)"),
        PhysicalKey::Name(_) => unreachable!("{NO_NAMES}"),
    }
}

const WAIT_OUTCOME: &str = "dlock.outcome";

impl TransactionLocks for Postgres {
    fn physical_key(&self, key: &Key) -> Result<PhysicalKey, Error> {
        physical_key(key)
    }

    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> String {
        let lock = Expr::cust(call(Call::TryInTransaction, key, mode));
        text(Query::select().expr(Expr::val(1)).and_where(lock))
    }

    fn can_wait(&self) -> String {
        text(Query::select().expr(Expr::val(1)).and_where(has_plpgsql()))
    }

    /// Never a savepoint of the client's: a cancelled `SAVEPOINT` makes sqlx roll back the whole transaction. The block's own subtransaction undoes
    /// `lock_timeout` on failure, the block itself on success. Half of a `statement_timeout` bounds the slice, since that would abort the transaction.
    fn wait(&self, key: &PhysicalKey, mode: Mode, slice: Duration) -> String {
        let lock = call(Call::WaitInTransaction, key, mode);
        let slice = milliseconds(slice);
        let [timed_out, granted, deadlock] = WaitOutcome::ALL.map(WaitOutcome::rows);
        format!(
            "DO $dlock$ DECLARE \
               before text := current_setting('lock_timeout'); \
               statement_ms bigint := extract(epoch FROM current_setting('statement_timeout')::interval) * 1000; \
               slice_ms bigint := least({slice}, CASE WHEN statement_ms > 0 THEN greatest(statement_ms / 2, 1) END); \
             BEGIN \
               BEGIN \
                 PERFORM set_config('lock_timeout', slice_ms::text, true); \
                 PERFORM {lock}; \
                 PERFORM set_config('lock_timeout', before, true); \
                 PERFORM set_config('{WAIT_OUTCOME}', '{granted}', true); \
               EXCEPTION \
                 WHEN lock_not_available THEN PERFORM set_config('{WAIT_OUTCOME}', '{timed_out}', true); \
                 WHEN deadlock_detected THEN PERFORM set_config('{WAIT_OUTCOME}', '{deadlock}', true); \
               END; \
             END $dlock$; \
             SELECT FROM generate_series(1, current_setting('{WAIT_OUTCOME}')::int)"
        )
    }
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
            "SELECT pg_advisory_unlock(\"k\") FROM unnest($1::bigint[]) AS \"k\" UNION ALL \
             (SELECT pg_try_advisory_lock_shared((k >> 32)::int4, ((k << 32) >> 32)::int4) FROM unnest($2::bigint[]) AS \"k\")"
        );
    }

    #[test]
    fn packing_a_pair_keeps_both_signs() {
        for (a, b) in [
            (0, 0),
            (-1, 1),
            (1, -1),
            (i32::MIN, i32::MAX),
            (i32::MAX, i32::MIN),
        ] {
            let key = PhysicalKey::Pair(a, b);
            assert_eq!(unpacked(packed(&key), true), key);
        }
    }

    #[test]
    fn a_slice_never_becomes_forever() {
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_micros(1001)), 2);
        assert_eq!(milliseconds(Duration::MAX), 2_147_483_647);
    }
}
