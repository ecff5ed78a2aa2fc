//! What a lock session asks and sets beside its locks.

use sea_query::{CaseStatement, Expr, ExprTrait, Query};

use super::identity::{Identity, is_standby, server_start, stamped};
use super::query::{call_of, current_database, has_plpgsql, setting, text};

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
