//! A logged-in connection.

use std::fmt;

use crate::Sessions;

/// The number of a session: `@@SPID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i16);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A logged-in connection.
#[derive(Clone, Debug)]
pub struct Session {
    /// Never used twice by a server, unlike SQL Server's.
    pub id: SessionId,
    /// Who it is.
    pub login: Login,
    /// Whether the requests come through TLS.
    pub encrypted: bool,
    /// Those of the server, itself among them.
    pub sessions: Sessions,
}

/// What a client says of itself when it logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The name of an SQL login; any is let in with any password.
    pub user: String,
    /// The database asked for; `master` if none was.
    pub database: String,
    /// `APP_NAME()`
    pub application: String,
    /// The client's machine
    pub host: String,
}
