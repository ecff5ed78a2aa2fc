//! Words that the statements have in common.

use sea_query::{
    Expr, ExprTrait, Func, FunctionCall, PostgresQueryBuilder, Query, SelectStatement,
};

use crate::mode::Mode;

pub(super) const NO_NAMES: &str = "BUG: PostgreSQL knows locks by number";

/// Which of the server's functions: `pg_[try_]advisory[_xact]_{lock|unlock}[_shared]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Unlock,
    Try,
    Wait,
    TryInTransaction,
    WaitInTransaction,
}

pub(super) fn function(call: Call, mode: Mode) -> &'static str {
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
pub(super) const COMMENT: &str = "/*dlock*/";

/// `select.to_string` for statements without values.
pub(super) fn text(select: &SelectStatement) -> String {
    format!("{COMMENT} {}", select.to_string(PostgresQueryBuilder))
}

/// An expression without values, for a place where sea-query has no statement around it.
pub(super) fn text_of(expression: Expr) -> String {
    let select = Query::select()
        .expr(expression)
        .to_string(PostgresQueryBuilder);
    let expression = select.strip_prefix("SELECT ");
    expression.expect("BUG: it is a SELECT").to_owned()
}

/// A call of a function of the server, whatever the `search_path`.
pub(super) fn call_of(function: &'static str) -> FunctionCall {
    Func::cust(format!("pg_catalog.{function}"))
}

pub(super) fn setting(name: &'static str) -> FunctionCall {
    call_of("current_setting").arg(name).arg(true)
}

pub(super) fn current_database() -> Expr {
    Expr::expr(call_of("current_database")).cast_as("text")
}

pub(super) fn has_plpgsql() -> Expr {
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
