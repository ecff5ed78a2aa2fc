//! The job that one instance does each night, whichever is first.

use std::time::Duration;

use chrono::{NaiveDate, Utc};
use dlock::prelude::*;
use dlock_example_invoices::{self as invoices, Night, Partners};
use sea_orm::DatabaseConnection;
use tokio::time::sleep;

use crate::error::AppError;

const AFTER_A_FAILURE: Duration = Duration::from_secs(60);

pub(crate) async fn every(at: Night, db: DatabaseConnection, partners: Partners) {
    loop {
        let night = at.last(Utc::now());
        let pause = match remind(&db, &partners, night).await {
            Ok(sent) => {
                tracing::info!(%night, by_this_instance = sent, "reminders are sent");
                at.until_next(Utc::now())
            }
            Err(AppError::Lock(dlock::Error::PoolClosed)) => return,
            Err(error) => {
                tracing::error!(?error, %night, "reminders are not sent");
                AFTER_A_FAILURE
            }
        };
        sleep(pause).await;
    }
}

/// Who is not first waits, to take over if the first one dies; otherwise it finds that everything is done.
#[with_dlock(key = "reminders", timeout = "1h")]
async fn remind(
    db: &DatabaseConnection,
    partners: &Partners,
    night: NaiveDate,
) -> Result<bool, AppError> {
    Ok(invoices::remind(db, partners, night).await?)
}
