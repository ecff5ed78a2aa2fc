//! Which server session a lock session is, and the condition that is true on that session only.

/// One server session, as no other is. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The value of the session variable `@dlock_stamp`, which the server makes of a random token,
    /// of what it knows of the session and of a UUID: the same statement makes another stamp
    /// elsewhere, and each time.
    pub(crate) stamp: u64,
    /// The server's number for the session.
    pub(crate) session: u64,
    pub(crate) server: Option<ServerName>,
    pub(crate) read_only: ReadOnly,
}

/// What values the server's variable `read_only` has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ReadOnly {
    /// MySQL, and MariaDB before 12: 0 or 1.
    Number,
    /// MariaDB 12: `OFF`, `ON` and others. Each word is 0 where a number is expected, so this form
    /// is right for numbers as well, and slower.
    #[default]
    Word,
}

impl ReadOnly {
    /// 1 on a server that is read-only, else 0.
    const fn is_on(self) -> &'static str {
        match self {
            Self::Number => "@@GLOBAL.read_only",
            Self::Word => "(@@GLOBAL.read_only <> 'OFF')",
        }
    }
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

/// True on a server that can be written to, whatever values its variable has.
const WRITABLE: &str = "CAST(@@GLOBAL.read_only AS CHAR) IN ('0', 'OFF')";

impl Identity {
    /// The end of a statement whose text is sent each time: on another server session it does
    /// nothing and answers no row.
    pub(super) fn proof(&self, of: Proof) -> String {
        let Self {
            stamp,
            session,
            read_only,
            ..
        } = self;
        let stamped = proof(&stamp.to_string(), of, *read_only);
        format!("{stamped} AND CONNECTION_ID() = {session}")
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

/// The same for a statement that is prepared, with the stamp as its last parameter: a proxy may
/// execute a statement of the same number that another client has prepared, so its text proves
/// nothing.
///
/// The session's number is left out, since the server made the stamp of it. It would cost MariaDB a
/// fifth of the statement's time.
pub(super) fn proof_by_parameter(of: Proof, read_only: ReadOnly) -> String {
    proof("?", of, read_only)
}

/// One comparison, since a second one would cost MariaDB as much as the whole proof: the stamp of a
/// read-only server differs by one. sea-query has no words for `DUAL`.
fn proof(stamp: &str, of: Proof, read_only: ReadOnly) -> String {
    let less = match of {
        Proof::Session => String::new(),
        Proof::WritableSession => format!(" - {}", read_only.is_on()),
    };
    format!(" FROM DUAL WHERE @dlock_stamp{less} = {stamp}")
}

/// In a statement of the server: the stamp of the session that runs it, 52 bits of a digest, which
/// a floating-point number can hold exactly as well.
///
/// A proxy can replay the statement when it connects anew, and a server that was restarted counts
/// its sessions from the beginning: the UUID makes the stamp another one all the same. A `SET` of a
/// variable of the session writes nothing to the binary log, so the UUID is no obstacle to
/// replication.
pub(super) fn stamp(token: u64, server: Option<&ServerName>) -> String {
    let server = match server {
        Some(server) => format!("@@GLOBAL.{}", server.variable),
        None => "@@GLOBAL.hostname, ' ', @@GLOBAL.port, ' ', @@GLOBAL.server_id".to_owned(),
    };
    format!(
        "CAST(CONV(LEFT(SHA2(CONCAT({token}, ' ', CONNECTION_ID(), ' ', UUID(), ' ', {server}), 256), \
         13), 16, 10) AS UNSIGNED)"
    )
}

/// The smallest statement that proves the session, and that its server can be written to.
pub(crate) fn ping(identity: &Identity) -> String {
    format!("SELECT 1{}", identity.proof(Proof::WritableSession))
}

/// One row about the session that answers: its stamp, its number, its database, and whether the
/// server's `read_only` is a [number](ReadOnly::Number). No word equals '0'.
pub(crate) const INTRODUCE: &str = "SELECT CAST(@dlock_stamp AS UNSIGNED), \
     CAST(CONNECTION_ID() AS UNSIGNED), DATABASE(), @@GLOBAL.read_only = '0'";

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
        let identity = |read_only| Identity {
            stamp: 7,
            session: 42,
            server: None,
            read_only,
        };
        let proof =
            |less| format!("FROM DUAL WHERE @dlock_stamp{less} = 7 AND CONNECTION_ID() = 42");
        for (read_only, less) in [
            (ReadOnly::Number, " - @@GLOBAL.read_only"),
            (ReadOnly::Word, " - (@@GLOBAL.read_only <> 'OFF')"),
        ] {
            let identity = identity(read_only);
            assert_eq!(ping(&identity), format!("SELECT 1 {}", proof(less)));
            assert_eq!(identity.proof(Proof::Session), format!(" {}", proof("")));
        }
    }

    #[test]
    fn a_stamp_is_made_of_session_and_server_and_is_never_made_twice() {
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
                stamp.contains("CONCAT(7, ' ', CONNECTION_ID(), ' ', UUID(), "),
                "{stamp}"
            );
            assert!(stamp.contains(expected), "{stamp}");
        }
    }
}
