//! PostgreSQL: advisory locks.
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>

mod batch;
mod listing;

use std::time::Duration;

use sea_query::{
    Expr, ExprTrait, Func, FunctionCall, PostgresQueryBuilder, Query, SelectStatement,
};

pub(crate) use self::batch::{Arm, batch, packed, single};
pub(crate) use self::listing::{end_holder, held, locks, unpacked};
use super::digest::digest;
use super::{Dialect, TransactionLocks, WaitOutcome, not_empty};
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// The dialect of PostgreSQL.
#[derive(Debug)]
pub(crate) struct Postgres;

impl Dialect for Postgres {
    fn backend(&self) -> &'static str {
        "PostgreSQL"
    }

    fn physical_key(&self, key: &KeyRepr) -> Result<Option<PhysicalKey>, Error> {
        physical_key(key).map(Some)
    }
}

fn physical_key(key: &KeyRepr) -> Result<PhysicalKey, Error> {
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

const NO_NAMES: &str = "BUG: PostgreSQL knows locks by number";

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
        (_, another) => unreachable!("BUG: PostgreSQL has no {another} locks"),
    }
}

/// `select.to_string` for statements without values.
fn text(select: &SelectStatement) -> String {
    select.to_string(PostgresQueryBuilder)
}

/// What a lock session must know of its server: the token that it sent as a start-up option, as the server has it; whether this is a hot standby;
/// whether there is PL/pgSQL to wait in; what the application calls itself; the server's number for the session; the database that it is in.
pub(crate) fn server() -> String {
    text(
        Query::select()
            .expr(setting(SESSION_TOKEN))
            .expr(Func::cust("pg_is_in_recovery"))
            .expr(has_plpgsql())
            .expr(setting("application_name"))
            .expr(Func::cust("pg_backend_pid"))
            .expr(current_database()),
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

fn current_database() -> Expr {
    Expr::expr(Func::cust("current_database")).cast_as("text")
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

/// A slice of a wait on a session that holds nothing else. The answer is text, `true` or `false`.
///
/// What can be done before the lock is granted is done before, since the next holder waits for all that comes after. So the setting says `true` too early; an
/// error that the block does not catch ends the whole text, and with it the `SHOW`.
///
/// sea-query has no words for `DO` and `SHOW`, and only a block can end a wait without an error in the server's log. A lock that was granted although the wait failed
/// (one in ten near the deadline) goes with everything else in `pg_advisory_unlock_all`, so that a wait that was not granted holds nothing.
pub(crate) fn wait(key: &PhysicalKey, mode: Mode, slice: Duration) -> String {
    let lock = call(Call::Wait, key, mode);
    let slice = milliseconds_within_statement(slice);
    format!(
        "DO $dlock$ BEGIN \
           PERFORM set_config('lock_timeout', {slice}::text, true); \
           PERFORM set_config('dlock.granted', 'true', false); \
           PERFORM {lock}; \
         EXCEPTION WHEN lock_not_available THEN \
           PERFORM pg_advisory_unlock_all(); \
           PERFORM set_config('dlock.granted', 'false', false); \
         END $dlock$; \
         SHOW dlock.granted"
    )
}

/// `lock_timeout` counts whole milliseconds, and 0 means forever.
fn milliseconds(slice: Duration) -> u64 {
    slice.as_micros().div_ceil(1000).clamp(1, i32::MAX as u128) as u64
}

/// In SQL. Half of a `statement_timeout` bounds the slice, since that would be an error.
fn milliseconds_within_statement(slice: Duration) -> String {
    let slice = milliseconds(slice);
    let statement = "extract(epoch FROM current_setting('statement_timeout')::interval) * 1000";
    format!("greatest(1, least({slice}, nullif({statement}, 0) / 2))::bigint")
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
    fn dialect(&self) -> &dyn Dialect {
        self
    }

    fn database(&self) -> String {
        text(Query::select().expr_as(current_database(), "database"))
    }

    fn physical_key(&self, key: &KeyRepr) -> Result<PhysicalKey, Error> {
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
    /// `lock_timeout` on failure, the block itself on success.
    fn wait(&self, key: &PhysicalKey, mode: Mode, slice: Duration) -> String {
        let lock = call(Call::WaitInTransaction, key, mode);
        let slice = milliseconds_within_statement(slice);
        let [timed_out, granted, deadlock] = WaitOutcome::ALL.map(WaitOutcome::rows);
        format!(
            "DO $dlock$ DECLARE \
               before text := current_setting('lock_timeout'); \
             BEGIN \
               BEGIN \
                 PERFORM set_config('lock_timeout', {slice}::text, true); \
                 PERFORM set_config('{WAIT_OUTCOME}', '{granted}', true); \
                 PERFORM {lock}; \
                 PERFORM set_config('lock_timeout', before, true); \
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
    fn a_slice_never_becomes_forever() {
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_micros(1001)), 2);
        assert_eq!(milliseconds(Duration::MAX), 2_147_483_647);
    }
}
