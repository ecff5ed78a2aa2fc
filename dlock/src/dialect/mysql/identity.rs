//! Which server session a lock session is, and the condition that is true on that session only.

use crate::dialect::hexadecimal;

/// One server session, as no other is. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The random value of the session variable `@dlock_stamp`.
    pub(crate) stamp: u64,
    /// The server's number for the session.
    pub(crate) session: u64,
    pub(crate) server: Option<ServerName>,
}

/// A server's own name for itself. Older versions of MariaDB have none (10.6 before 10.6.19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerName {
    /// One of [`VARIABLES`](Self::VARIABLES).
    pub(crate) variable: &'static str,
    pub(crate) value: String,
}

impl ServerName {
    /// The first is MySQL's, the second MariaDB's.
    /// <https://dev.mysql.com/doc/refman/8.4/en/replication-options.html#sysvar_server_uuid>,
    /// <https://mariadb.com/docs/server/server-management/variables-and-modes/server-system-variables#server_uid>
    pub(crate) const VARIABLES: [&'static str; 2] = ["server_uuid", "server_uid"];
}

/// True on a server that can be written to. Some versions have words where others have numbers.
const WRITABLE: &str = "CAST(@@GLOBAL.read_only AS CHAR) IN ('0', 'OFF')";

impl Identity {
    /// The end of a statement: on another server session, or on a read-only server, it does nothing
    /// and answers no row. sea-query has no words for `DUAL`.
    pub(super) fn proof(&self) -> String {
        let Self {
            stamp,
            session,
            server,
        } = self;
        let server = server.as_ref().map_or_else(String::new, |server| {
            let value = hexadecimal(server.value.as_bytes());
            format!(" AND @@GLOBAL.{} = _utf8mb4 x'{value}'", server.variable)
        });
        format!(
            " FROM DUAL WHERE @dlock_stamp = {stamp} AND CONNECTION_ID() = {session}{server} \
             AND {WRITABLE}"
        )
    }
}

/// The smallest statement that proves the session.
pub(crate) fn ping(identity: &Identity) -> String {
    format!("SELECT 1{}", identity.proof())
}

/// One row about the session that answers: its stamp, its number, its database.
pub(crate) const INTRODUCE: &str =
    "SELECT CAST(@dlock_stamp AS UNSIGNED), CAST(CONNECTION_ID() AS UNSIGNED), DATABASE()";

/// One row about the session that answers: its stamp, its number, whether its server can be
/// written to, and the server's name, if this server has one.
pub(crate) fn who_answers(server: Option<&ServerName>) -> String {
    let name = server.map_or("NULL".to_owned(), |server| {
        format!("CAST(@@GLOBAL.{} AS CHAR)", server.variable)
    });
    format!(
        "SELECT CAST(@dlock_stamp AS UNSIGNED), CAST(CONNECTION_ID() AS UNSIGNED), {WRITABLE}, {name}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_names_session_and_server_and_is_false_where_nothing_can_be_written() {
        let mut identity = Identity {
            stamp: 7,
            session: 42,
            server: None,
        };
        let nameless = "SELECT 1 FROM DUAL WHERE @dlock_stamp = 7 AND CONNECTION_ID() = 42 \
                        AND CAST(@@GLOBAL.read_only AS CHAR) IN ('0', 'OFF')";
        assert_eq!(ping(&identity), nameless);
        identity.server = Some(ServerName {
            variable: "server_uid",
            value: "a'b".to_owned(),
        });
        let named = "= 42 AND @@GLOBAL.server_uid = _utf8mb4 x'612762' AND CAST";
        assert_eq!(ping(&identity), nameless.replace("= 42 AND CAST", named));
    }
}
