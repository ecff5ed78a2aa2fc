//! What an answer of another server session means.

use std::borrow::Cow;

use sea_orm::sqlx::mysql::MySqlRow;
use sea_orm::sqlx::{self, Row};

use super::identity::Identity;
use crate::backend::session_error::SessionError;
use crate::error::Error;

pub(super) const AROUND_A_PROXY: &str =
    "name a direct connection to the primary with `LockPool::builder(&db).sessions_from(&direct)`";

/// The answer came from another server session than the one that holds the pool's locks.
pub(super) fn another_session(expected: &Identity, found: String) -> Error {
    Error::Refused {
        found: Cow::Owned(found),
        expected: Cow::Owned(format!(
            "server session {}, which holds the locks",
            expected.session
        )),
        way_out: AROUND_A_PROXY,
    }
}

/// The end of a session after a statement that did nothing, by what
/// [answers](super::identity::who_answers) now.
pub(super) fn misdirected(
    expected: &Identity,
    row: &MySqlRow,
) -> Result<SessionError, sqlx::Error> {
    let ended = |why: &str| SessionError::ended(why);
    let stamp: Option<u64> = row.try_get(0)?;
    let session: u64 = row.try_get(1)?;
    let is_writable: i64 = row.try_get(2)?;
    let server: Option<String> = row.try_get(3)?;
    let is_same_server = server.as_ref() == expected.server.as_ref().map(|server| &server.value);
    if is_same_server && session == expected.session {
        if is_writable == 0 {
            return Ok(ended(
                "the server has become read-only, like a replica: its locks exclude no session of the primary",
            ));
        }
        if stamp.is_none() {
            return Ok(ended(
                "the session was reset, and its locks were released with that",
            ));
        }
        let found = match stamp == Some(expected.stamp) {
            true => {
                "an answer of another server session, and the next one of the right session: \
                 a proxy routes each statement by itself"
            }
            false => {
                "a session of the same number with another stamp: \
                 a proxy has replayed the statement that makes it"
            }
        };
        let error = another_session(expected, found.to_owned());
        return Ok(SessionError::Refused(error));
    }
    let whose = match (is_same_server, is_writable != 0) {
        (true, _) => "of the same server",
        (false, true) => "of another server",
        (false, false) => "of a read-only server, like a replica",
    };
    let found = format!("an answer of another server session ({whose}, number {session})");
    Ok(SessionError::Refused(another_session(expected, found)))
}
