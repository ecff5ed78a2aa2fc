//! Other people's services, by HTTP: they take money, keep the books and send letters. No rollback undoes that.

use std::env;
use std::time::Duration;

use chrono::NaiveDate;
use serde::Serialize;
use tokio::time::sleep;

use crate::entity::invoice;

/// How long a partner may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a partner takes that there is not.
const PRETENDED: Duration = Duration::from_secs(2);

/// The partners, at the address in `PARTNERS_URL`; without it there are none, and what they would do takes two seconds.
#[derive(Debug, Clone)]
pub struct Partners(Option<(reqwest::Client, String)>);

#[derive(Serialize)]
struct Charge<'a> {
    cents: i64,
    /// A lock keeps apart those who work. When we die between the charge and our own note of it, or our client hangs up and Axum drops the request, the next one
    /// charges again, and by this the partner knows.
    idempotency_key: &'a str,
}

#[derive(Serialize)]
struct Reminders {
    night: NaiveDate,
    invoices: Vec<i64>,
}

impl Partners {
    /// Those that the environment names.
    ///
    /// # Errors
    ///
    /// When there can be no HTTP client.
    pub fn from_env() -> reqwest::Result<Self> {
        let Ok(url) = env::var("PARTNERS_URL") else {
            return Ok(Self(None));
        };
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self(Some((client, url))))
    }

    pub(crate) async fn charge(&self, invoice: i64, cents: i64) -> reqwest::Result<()> {
        let idempotency_key = &format!("invoice/{invoice}");
        let charge = Charge {
            cents,
            idempotency_key,
        };
        self.post("charges", &charge).await
    }

    pub(crate) async fn book(&self, invoices: &[invoice::Model]) -> reqwest::Result<()> {
        self.post("books", invoices).await
    }

    pub(crate) async fn remind(
        &self,
        night: NaiveDate,
        late: &[invoice::Model],
    ) -> reqwest::Result<()> {
        let invoices = late.iter().map(|invoice| invoice.id).collect();
        self.post("reminders", &Reminders { night, invoices }).await
    }

    async fn post(&self, path: &str, body: &(impl Serialize + ?Sized)) -> reqwest::Result<()> {
        let Some((client, url)) = &self.0 else {
            sleep(PRETENDED).await;
            return Ok(());
        };
        let request = client.post(format!("{url}/{path}")).json(body);
        request.send().await?.error_for_status().map(drop)
    }
}
