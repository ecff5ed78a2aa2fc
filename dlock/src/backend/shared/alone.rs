//! Servers that SeaORM has no connection to: what opening a session there has in common.

use std::time::Duration;

use tokio::time::timeout;

use crate::backend::session::{Opened, Session};
use crate::backend::session_error::SessionError;

/// A session must be open by then, and checked.
pub(crate) async fn open_in_time<S: Session + 'static>(
    limit: Duration,
    opening: impl Future<Output = Result<S, SessionError>>,
) -> Result<Opened, SessionError> {
    let limit = limit.max(Duration::from_secs(1));
    match timeout(limit, opening).await {
        Ok(opened) => Ok(opened?.into()),
        Err(_elapsed) => Err(SessionError::silent(limit)),
    }
}
