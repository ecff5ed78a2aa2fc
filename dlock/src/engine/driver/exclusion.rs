//! Once per pool and server: a lock of one session is refused to another. A server may list a lock
//! that it has granted, and grant it again all the same.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::alarm::within;
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
pub(super) async fn prove(
    engine: &Arc<Engine>,
    session: &mut dyn Session,
) -> Result<(), SessionError> {
    let Some(key) = engine.backend.exclusion_probe() else {
        return Ok(());
    };
    if !engine.with(|shared, _, _| shared.machine.can_inspect()) {
        return Ok(());
    }
    let lock = Request {
        key,
        mode: Mode::Exclusive,
    };
    let limit = engine.reply_timeout;
    let taken = within(limit, session.exchange(&Batch::of_one_try(&lock))).await?;
    if !matches!(taken.tries[..], [Answer::Yes]) {
        return Ok(());
    }
    let is_excluded = engine.ask_exclusion(lock.clone(), PATIENCE).await;
    within(limit, session.exchange(&Batch::of_releases(vec![lock]))).await?;
    match is_excluded {
        Some(true) => {
            engine.backend.set_excludes();
            Ok(())
        }
        Some(false) => {
            engine.backend.refuse_for_good(&NO_EXCLUSION);
            Err(SessionError::Refused(NO_EXCLUSION))
        }
        // The other session had no time, or ended.
        None => Ok(()),
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
