//! Which server session a lock session is, and the condition that is true on that session only.

use sea_query::{Expr, ExprTrait, FunctionCall, Query};

use super::{call_of, setting, text};

/// The setting that carries the stamp of a lock session. A statement sets it after the start, so
/// a proxy that replays start-up options does not replay it.
pub(crate) const STAMP: &str = "dlock.stamp";

/// One server session, as no other is. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The random value of [`STAMP`]; hexadecimal.
    pub(crate) stamp: String,
    /// The server's process for it.
    pub(crate) pid: i32,
    /// When the server started, in microseconds since 1970: no two servers share it.
    pub(crate) server_start: i64,
}

impl Identity {
    /// True in a statement that this server session runs, while its server is no standby.
    pub(super) fn proof(&self) -> Expr {
        let stamp = Expr::expr(setting(STAMP)).eq(self.stamp.as_str());
        let pid = Expr::expr(call_of("pg_backend_pid")).eq(self.pid);
        // Folded to a constant when the statement is planned.
        let start = call_of("to_timestamp").arg(Expr::cust(self.start_in_seconds()));
        let server = Expr::expr(call_of("pg_postmaster_start_time")).eq(start);
        stamp.and(pid).and(server).and(is_standby().not())
    }

    fn start_in_seconds(&self) -> String {
        let (seconds, micros) = (self.server_start / 1_000_000, self.server_start % 1_000_000);
        format!("{seconds}.{micros:06}")
    }

    /// The same as text, for a wait: see [`IDENTITY_TEXT`].
    pub(super) fn to_text(&self) -> String {
        format!("{} {} {}", self.stamp, self.pid, self.server_start)
    }
}

/// In a PL/pgSQL block: the identity of the session that runs it, as [`Identity::to_text`] has it.
pub(super) const IDENTITY_TEXT: &str = "pg_catalog.concat_ws(' ', \
     pg_catalog.current_setting('dlock.stamp', true), \
     pg_catalog.pg_backend_pid(), \
     (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint)";

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

/// The stamp before and after it is set; evaluated from left to right.
pub(super) fn stamped(stamp: &str) -> [FunctionCall; 2] {
    let set = call_of("set_config").arg(STAMP).arg(stamp).arg(false);
    [setting(STAMP), set]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_names_session_and_server_and_is_false_on_a_standby() {
        let identity = Identity {
            stamp: "c0ffee".to_owned(),
            pid: 4242,
            server_start: 1_764_471_912_095_423,
        };
        assert_eq!(
            ping(&identity),
            "/*dlock*/ SELECT 1 WHERE \
             pg_catalog.current_setting('dlock.stamp', TRUE) = 'c0ffee' \
             AND pg_catalog.pg_backend_pid() = 4242 \
             AND pg_catalog.pg_postmaster_start_time() = pg_catalog.to_timestamp(1764471912.095423) \
             AND (NOT pg_catalog.pg_is_in_recovery())"
        );
        assert_eq!(identity.to_text(), "c0ffee 4242 1764471912095423");
    }
}
