//! Once per pool and server: a lock of one session is refused to another. A server may list a lock that it
//! has granted, and grant it again all the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::core::Core;
use super::sessions::Inspect;
use super::worker::within;
use crate::backend::{Answer, Batch, Request, Session, SessionError};
use crate::error::Error;
use crate::mode::Mode;

/// How long the other session may take; then the next new session tries again.
const PATIENCE: Duration = Duration::from_secs(1);

const NO_EXCLUSION: Error = Error::refused(
    "a server that grants one exclusive lock to two sessions",
    "a server whose locks exclude each other",
    "use one PostgreSQL, MySQL or MariaDB server for locks, and let the address lead to it alone",
);

/// A session that was just opened takes a lock, for which another session of the pool asks then.
/// Does nothing when that was done before, or no other session is free to ask.
pub(super) async fn prove(core: &Arc<Core>, session: &mut dyn Session) -> Result<(), SessionError> {
    let Some(key) = core.backend.exclusion_probe() else {
        return Ok(());
    };
    if !core.with(|state, _| state.can_ask_elsewhere_now()) {
        return Ok(());
    }
    let lock = Request {
        key,
        mode: Mode::Exclusive,
    };
    let limit = core.config.reply_timeout();
    let taken = within(limit, session.exchange(&Batch::of_one_try(&lock))).await?;
    if !matches!(taken.tries[..], [Answer::Yes]) {
        return Ok(());
    }
    let (answer, is_excluded) = oneshot::channel();
    let asked = Inspect::Excluded(lock.clone(), answer);
    core.with(|state, _| state.inspect_elsewhere(asked));
    let is_excluded = timeout(PATIENCE, is_excluded).await;
    within(limit, session.exchange(&Batch::of_releases(vec![lock]))).await?;
    match is_excluded {
        Ok(Ok(Ok(true))) => {
            core.backend.set_excludes();
            Ok(())
        }
        Ok(Ok(Ok(false))) => {
            core.backend.refuse_for_good(&NO_EXCLUSION);
            Err(SessionError::Refused(NO_EXCLUSION))
        }
        // The other session had no time, or ended.
        _ => Ok(()),
    }
}

/// The other session asks. It gives back a lock that it should not have been granted.
pub(super) async fn is_excluded(
    session: &mut dyn Session,
    lock: Request,
) -> Result<bool, SessionError> {
    let tried = session.exchange(&Batch::of_one_try(&lock)).await?;
    if let [Answer::Yes] = tried.tries[..] {
        session.exchange(&Batch::of_releases(vec![lock])).await?;
        return Ok(false);
    }
    Ok(true)
}
