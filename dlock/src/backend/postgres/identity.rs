//! Which server session answers, and what an answer of another one means.

use std::borrow::Cow;

use sea_orm::sqlx::postgres::PgRow;
use sea_orm::sqlx::{self, Row};

use super::statements::Identity;
use crate::backend::session_error::SessionError;
use crate::error::Error;

pub(super) const PAST_A_PROXY: &str = "name a direct connection to the primary with `LockPool::builder(&db).sessions_from(&direct)`, \
     or use `txn.dlock(key).xact()`";

/// The answer came from another server session than the one that holds the pool's locks.
pub(super) fn another_session(expected: &Identity, found: String) -> Error {
    Error::Refused {
        found: Cow::Owned(found),
        expected: Cow::Owned(format!(
            "server process {}, which holds the locks",
            expected.pid
        )),
        way_out: PAST_A_PROXY,
    }
}

/// The end of a session after an answer of another one, by what
/// [answers](super::statements::who_answers) now.
pub(super) fn misdirected(expected: &Identity, row: &PgRow) -> Result<SessionError, sqlx::Error> {
    let stamp: Option<String> = row.try_get(0)?;
    let found = Identity {
        stamp: stamp.unwrap_or_default(),
        pid: row.try_get(1)?,
        server_start: row.try_get(2)?,
    };
    let is_standby: bool = row.try_get(3)?;
    let is_same_process = (found.pid, found.server_start) == (expected.pid, expected.server_start);
    if is_same_process && found.stamp.is_empty() {
        let reset = "the settings of the session were reset (RESET ALL or DISCARD ALL), and its locks \
                     perhaps with them";
        return Ok(SessionError::ended(reset));
    }
    if found == *expected && !is_standby {
        let in_turn = "an answer of another server session, and the next one of the right session: \
                       a proxy routes each statement by itself";
        let error = another_session(expected, in_turn.to_owned());
        return Ok(SessionError::Refused(error));
    }
    let whose = match (is_standby, found.server_start == expected.server_start) {
        (true, _) => "of a hot standby",
        (false, true) => "of the same server",
        (false, false) => "of another server",
    };
    let found = format!(
        "an answer of another server session ({whose}, process {})",
        found.pid
    );
    Ok(SessionError::Refused(another_session(expected, found)))
}
