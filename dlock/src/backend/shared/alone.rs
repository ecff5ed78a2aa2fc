//! Servers that SeaORM has no connection to: what opening a session there has in common.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::timeout;

use super::doubt::ended;
use crate::backend::session::Session;
use crate::backend::session_error::SILENT;
use crate::error::{Error, Phase};

/// A session must be open by then, and checked.
pub(crate) async fn open_in_time<S: Session + 'static>(
    limit: Duration,
    opening: impl Future<Output = Result<S, Error>>,
) -> Result<Box<dyn Session>, Error> {
    let limit = limit.max(Duration::from_secs(1));
    match timeout(limit, opening).await {
        Ok(opened) => Ok(Box::new(opened?)),
        Err(_elapsed) => {
            let silent: DbErr = ended(format!("{SILENT} within {limit:?}"));
            Err(Phase::Connect.failed(silent))
        }
    }
}
