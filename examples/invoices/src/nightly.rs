//! The job that one instance does each night, whichever is first.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use dlock::prelude::*;
use sea_orm::DatabaseConnection;
use tokio::time::sleep;

use crate::actions;
use crate::error::Error;
use crate::partners::Partners;

const AFTER_A_FAILURE: Duration = Duration::from_secs(60);

/// Reminds customers each night at this time, until the lock pool is closed.
pub async fn send_reminders(at: Night, db: DatabaseConnection, partners: Partners) {
    loop {
        let night = at.last(Utc::now());
        let pause = match remind(&db, &partners, night).await {
            Ok(sent) => {
                tracing::info!(%night, by_this_instance = sent, "reminders are sent");
                at.until_next(night, Utc::now())
            }
            Err(Error::Lock(dlock::Error::PoolClosed)) => return,
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
) -> Result<bool, Error> {
    actions::remind(db, partners, night).await
}

/// A time of the night, in UTC: `"03:00"`.
#[derive(Debug, Clone, Copy)]
pub struct Night(NaiveTime);

impl FromStr for Night {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NaiveTime::parse_from_str(text, "%H:%M").map(Self)
    }
}

impl Night {
    /// The last night whose time has come: a service that was down then makes up for it.
    fn last(self, now: DateTime<Utc>) -> NaiveDate {
        let today = now.date_naive();
        if now.time() >= self.0 {
            today
        } else {
            today - Days::new(1)
        }
    }

    /// How long it is to the one after this night; no time at all when that has come while this night's work was done.
    fn until_next(self, night: NaiveDate, now: DateTime<Utc>) -> Duration {
        let next = (night + Days::new(1)).and_time(self.0).and_utc();
        (next - now).to_std().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_night_is_due_from_its_time_on() {
        let night: Night = "03:00".parse().unwrap();
        assert_eq!(night.last(at("2026-05-10T02:59:59Z")), date("2026-05-09"));
        assert_eq!(night.last(at("2026-05-10T03:00:00Z")), date("2026-05-10"));
    }

    #[test]
    fn no_night_is_left_out_when_the_one_before_took_long() {
        let night: Night = "03:00".parse().unwrap();
        let until_next = |now| night.until_next(date("2026-05-09"), at(now));
        let day = Duration::from_secs(86_400);
        assert_eq!(until_next("2026-05-09T03:00:00Z"), day);
        assert_eq!(until_next("2026-05-10T02:59:59Z"), Duration::from_secs(1));
        assert_eq!(until_next("2026-05-10T03:00:01Z"), Duration::ZERO);
    }
}
