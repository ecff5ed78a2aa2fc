//! Which server session a lock session is, and the condition that is true on that session only.

use sea_query::{Expr, ExprTrait, FunctionCall, Query};

use super::query::{call_of, setting, text};

/// The setting that carries the stamp of a lock session. A statement sets it after the start, so
/// a proxy that replays start-up options does not replay it; and the server makes it of what it
/// knows of the session, so that the same statement makes another stamp elsewhere.
const STAMP: &str = "dlock.stamp";

/// One server session, as no other is. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The value of [`STAMP`]: a random token, process and server start.
    pub(crate) stamp: String,
    /// The server's process for it.
    pub(crate) pid: i32,
    /// When the server started, in microseconds since 1970: no two servers share it.
    pub(crate) server_start: i64,
}

impl Identity {
    /// Of the session that was stamped with this token.
    pub(crate) fn new(token: &str, pid: i32, server_start: i64) -> Self {
        Self {
            stamp: format!("{token} {pid} {server_start}"),
            pid,
            server_start,
        }
    }

    /// True in a statement that this server session runs. Its server is no standby, since it was
    /// none when the session opened. For a statement whose text is sent each time.
    pub(super) fn proof(&self) -> Expr {
        proof(self.stamp.as_str().into(), self.pid.into())
    }

    /// The same as text, for a wait: see [`IDENTITY_TEXT`].
    pub(super) fn to_text(&self) -> String {
        format!("{} {}", self.stamp, self.pid)
    }
}

/// The same for a statement that is prepared: stamp and process are the parameters from this number
/// on. A pooler may execute a statement of the same name that another client has prepared, so its
/// text proves nothing.
pub(super) fn proof_by_parameters(first: usize) -> Expr {
    let stamp = Expr::cust(format!("${first}::text"));
    proof(stamp, Expr::cust(format!("${}::int4", first + 1)))
}

fn proof(stamp: Expr, pid: Expr) -> Expr {
    let stamp = Expr::expr(setting(STAMP)).eq(stamp);
    stamp.and(Expr::expr(call_of("pg_backend_pid")).eq(pid))
}

/// In a PL/pgSQL block: the identity of the session that runs it, as [`Identity::to_text`] has it.
pub(super) const IDENTITY_TEXT: &str = "pg_catalog.concat_ws(' ', \
     pg_catalog.current_setting('dlock.stamp', true), pg_catalog.pg_backend_pid())";

/// The stamp before and after it is set; evaluated from left to right.
pub(super) fn stamped(token: &str) -> [FunctionCall; 2] {
    let stamp = call_of("concat_ws")
        .arg(" ")
        .arg(token)
        .arg(call_of("pg_backend_pid"))
        .arg(server_start());
    let set = call_of("set_config").arg(STAMP).arg(stamp).arg(false);
    [setting(STAMP), set]
}

pub(super) fn is_standby() -> Expr {
    call_of("pg_is_in_recovery").into()
}

pub(super) fn server_start() -> Expr {
    Expr::cust("(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint")
}

/// The smallest statement that proves the session: one row, or none on another one.
pub(crate) fn ping(identity: &Identity) -> String {
    text(
        Query::select()
            .expr(Expr::val(1))
            .and_where(identity.proof()),
    )
}

/// The stamp, in a form that takes no snapshot in a transaction that the application has begun.
/// sea-query has no words for it.
pub(crate) const SHOW_STAMP: &str = "/*dlock*/ SHOW dlock.stamp";

/// One row about the session that answers: stamp, process, server start, standby or not.
pub(crate) fn who_answers() -> String {
    text(
        Query::select()
            .expr(setting(STAMP))
            .expr(call_of("pg_backend_pid"))
            .expr(server_start())
            .expr(is_standby()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_names_the_session_and_the_stamp_the_server() {
        let identity = Identity::new("c0ffee", 4242, 1_764_471_912_095_423);
        assert_eq!(
            ping(&identity),
            "/*dlock*/ SELECT 1 WHERE \
             pg_catalog.current_setting('dlock.stamp', TRUE) = 'c0ffee 4242 1764471912095423' \
             AND pg_catalog.pg_backend_pid() = 4242"
        );
        assert_eq!(identity.to_text(), "c0ffee 4242 1764471912095423 4242");
    }
}
