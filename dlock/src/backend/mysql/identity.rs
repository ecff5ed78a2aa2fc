//! Which server session a lock session is, and the condition that is true on that session only.

/// One server session, as no other is. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The value of the session variable `@dlock_stamp`, which the server makes of a random token
    /// and of what it knows of the session: the same statement makes another stamp elsewhere.
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
    /// The end of a statement whose text is sent each time: on another server session it does
    /// nothing and answers no row.
    pub(super) fn proof(&self, of: Proof) -> String {
        proof(&self.stamp.to_string(), &self.session.to_string(), of)
    }
}

/// A statement that takes a lock is not carried out on a read-only server either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Session,
    WritableSession,
}

impl Proof {
    /// For a batch with so many tries.
    pub(super) fn of_tries(tries: usize) -> Self {
        match tries {
            0 => Self::Session,
            _ => Self::WritableSession,
        }
    }
}

/// The same for a statement that is prepared, with stamp and session as its last parameters: a
/// proxy may execute a statement of the same number that another client has prepared, so its text
/// proves nothing.
pub(super) fn proof_by_parameters(of: Proof) -> String {
    proof("?", "?", of)
}

/// sea-query has no words for `DUAL`.
fn proof(stamp: &str, session: &str, of: Proof) -> String {
    let writable = match of {
        Proof::Session => String::new(),
        Proof::WritableSession => format!(" AND {WRITABLE}"),
    };
    format!(" FROM DUAL WHERE @dlock_stamp = {stamp} AND CONNECTION_ID() = {session}{writable}")
}

/// In a statement of the server: the stamp of the session that runs it, 60 bits of a digest.
pub(super) fn stamp(token: u64, server: Option<&ServerName>) -> String {
    let server = match server {
        Some(server) => format!("@@GLOBAL.{}", server.variable),
        None => "@@GLOBAL.hostname, ' ', @@GLOBAL.port, ' ', @@GLOBAL.server_id".to_owned(),
    };
    format!(
        "CAST(CONV(LEFT(SHA2(CONCAT({token}, ' ', CONNECTION_ID(), ' ', {server}), 256), 15), 16, 10) \
         AS UNSIGNED)"
    )
}

/// The smallest statement that proves the session, and that its server can be written to.
pub(crate) fn ping(identity: &Identity) -> String {
    format!("SELECT 1{}", identity.proof(Proof::WritableSession))
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
    fn a_lock_is_taken_by_the_session_itself_on_a_server_that_can_be_written_to() {
        let identity = Identity {
            stamp: 7,
            session: 42,
            server: None,
        };
        assert_eq!(
            ping(&identity),
            "SELECT 1 FROM DUAL WHERE @dlock_stamp = 7 AND CONNECTION_ID() = 42 \
             AND CAST(@@GLOBAL.read_only AS CHAR) IN ('0', 'OFF')"
        );
        assert!(!identity.proof(Proof::Session).contains("read_only"));
    }

    #[test]
    fn a_stamp_is_made_of_session_and_server() {
        let name = ServerName {
            variable: "server_uid",
            value: "x".to_owned(),
        };
        for (server, expected) in [
            (Some(&name), "@@GLOBAL.server_uid)"),
            (None, "@@GLOBAL.port"),
        ] {
            let stamp = stamp(7, server);
            assert!(
                stamp.contains("CONCAT(7, ' ', CONNECTION_ID(), "),
                "{stamp}"
            );
            assert!(stamp.contains(expected), "{stamp}");
        }
    }
}
