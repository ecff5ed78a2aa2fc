//! The statements of PostgreSQL.
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>

mod batch;
mod identity;
mod listing;
mod slice;
mod transaction;
mod wait;

use sea_query::{
    CaseStatement, Expr, ExprTrait, Func, FunctionCall, PostgresQueryBuilder, Query,
    SelectStatement,
};

pub(crate) use self::batch::{StatementKind, batch, packed, single};
pub(crate) use self::identity::{Identity, SHOW_STAMP, ping, who_answers};
use self::identity::{is_standby, server_start, stamped};
pub(crate) use self::listing::{end_holder, held, holder_of, locks, unpacked};
pub(crate) use self::transaction::PgTransactionLocks;
pub(crate) use self::wait::{WaitAnswer, wait};
use crate::mode::Mode;

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
        (Call::Unlock, Mode::Exclusive) => "pg_catalog.pg_advisory_unlock",
        (Call::Unlock, Mode::Shared) => "pg_catalog.pg_advisory_unlock_shared",
        (Call::Try, Mode::Exclusive) => "pg_catalog.pg_try_advisory_lock",
        (Call::Try, Mode::Shared) => "pg_catalog.pg_try_advisory_lock_shared",
        (Call::Wait, Mode::Exclusive) => "pg_catalog.pg_advisory_lock",
        (Call::Wait, Mode::Shared) => "pg_catalog.pg_advisory_lock_shared",
        (Call::TryInTransaction, Mode::Exclusive) => "pg_catalog.pg_try_advisory_xact_lock",
        (Call::TryInTransaction, Mode::Shared) => "pg_catalog.pg_try_advisory_xact_lock_shared",
        (Call::WaitInTransaction, Mode::Exclusive) => "pg_catalog.pg_advisory_xact_lock",
        (Call::WaitInTransaction, Mode::Shared) => "pg_catalog.pg_advisory_xact_lock_shared",
        (_, another) => unreachable!("BUG: PostgreSQL has no {another} locks"),
    }
}

/// Before each statement: pgpool-II neither balances nor caches a statement that begins with a
/// comment. <https://www.pgpool.net/docs/latest/en/html/runtime-config-load-balancing.html>
const COMMENT: &str = "/*dlock*/";

/// `select.to_string` for statements without values.
fn text(select: &SelectStatement) -> String {
    format!("{COMMENT} {}", select.to_string(PostgresQueryBuilder))
}

/// An expression without values, for a place where sea-query has no statement around it.
fn text_of(expression: Expr) -> String {
    let select = Query::select()
        .expr(expression)
        .to_string(PostgresQueryBuilder);
    let expression = select.strip_prefix("SELECT ");
    expression.expect("BUG: it is a SELECT").to_owned()
}

/// A call of a function of the server, whatever the `search_path`.
fn call_of(function: &'static str) -> FunctionCall {
    Func::cust(format!("pg_catalog.{function}"))
}

/// One row, in which a lock session puts its stamp on the server session and learns what it must
/// know: the stamp before and now; the start-up token as the server has it, and where the server
/// has the other start-up option from; standby or not; whether there is PL/pgSQL to wait in; the
/// application's name; process, server start in both forms, and database.
pub(crate) fn introduce(token: &str) -> String {
    let source = Query::select()
        .column("source")
        .from(("pg_catalog", "pg_settings"))
        .and_where(Expr::col("name").eq(ORIGIN_PROBE.0))
        .to_owned();
    text(
        Query::select()
            .exprs(stamped(token))
            .expr(setting(SESSION_TOKEN))
            .expr(Expr::SubQuery(None, Box::new(source.into())))
            .expr(is_standby())
            .expr(has_plpgsql())
            .expr(setting("application_name"))
            .expr(call_of("pg_backend_pid"))
            .expr(server_start())
            .expr(Expr::expr(call_of("pg_postmaster_start_time")).cast_as("text"))
            .expr(current_database()),
    )
}

/// Apart from [`introduce`], since a server that only speaks PostgreSQL's protocol may lack what
/// that asks.
pub(crate) fn version() -> String {
    text(Query::select().expr(call_of("version")))
}

/// The start-up option by which a session recognises itself behind a proxy.
pub(crate) const SESSION_TOKEN: &str = "dlock.session";

/// A further start-up option, with the default of PostgreSQL: a setting that the server itself
/// knows shows where its value came from, and a lock session has no use for this one.
pub(crate) const ORIGIN_PROBE: (&str, &str) = ("geqo_seed", "0");

/// The origin of a start-up option that the client sent to this very session.
/// <https://www.postgresql.org/docs/current/view-pg-settings.html>
pub(crate) const FROM_CLIENT: &str = "client";

fn setting(name: &'static str) -> FunctionCall {
    call_of("current_setting").arg(name).arg(true)
}

fn current_database() -> Expr {
    Expr::expr(call_of("current_database")).cast_as("text")
}

fn has_plpgsql() -> Expr {
    let installed = Query::select()
        .expr(Expr::val(1))
        .from(("pg_catalog", "pg_language"))
        .and_where(Expr::col("lanname").eq("plpgsql"))
        .and_where(
            call_of("has_language_privilege")
                .arg(Expr::col("oid"))
                .arg("USAGE")
                .into(),
        )
        .to_owned();
    Expr::exists(installed)
}

/// Settings of the session as far as the server has them, all of them or none. One row.
pub(crate) fn set_session(settings: &[(&'static str, String)]) -> String {
    let set = |(name, value): &(&'static str, String)| {
        let set = call_of("set_config").arg(*name).arg(value.as_str());
        let is_known = Expr::expr(setting(name)).is_not_null();
        CaseStatement::new().case(is_known, set.arg(false))
    };
    text(Query::select().exprs(settings.iter().map(set)))
}

/// Leaves the session with no session lock at all. One row, or none on another session.
pub(crate) fn unlock_all(identity: &Identity) -> String {
    text(
        Query::select()
            .expr(call_of("pg_advisory_unlock_all"))
            .and_where(identity.proof()),
    )
}

/// A row if a transaction has begun before this statement.
pub(crate) fn in_transaction() -> String {
    let begun = Expr::expr(call_of("transaction_timestamp"));
    text(
        Query::select()
            .expr(Expr::val(1))
            .and_where(begun.ne(call_of("statement_timestamp"))),
    )
}

/// sea-query has no words for it.
pub(crate) const ROLLBACK: &str = "ROLLBACK";
