//! Why something was not done, and what clients are told.

use reqwest::StatusCode;
use sea_orm::DbErr;
use serde_json::json;

/// Why something was not done, in words for customers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row.
    #[error("There is no {0} {1}.")]
    Missing(&'static str, i64),
    /// Somebody was faster.
    #[error("Invoice {0} is paid already.")]
    AlreadyPaid(i64),
    /// An account would have less than nothing.
    #[error("Account {0} has not enough money.")]
    NotEnough(i64),
    /// Not an amount that can be moved between these accounts.
    #[error("A transfer moves a positive amount between two accounts.")]
    NotATransfer,
    /// A partner did not do what we asked for, or we do not know.
    #[error("A partner of ours failed.")]
    Partner(#[from] reqwest::Error),
    /// The lock was not got, or lost. That has an answer of its own, by dlock.
    #[error("There was no lock.")]
    Lock(#[from] dlock::Error),
    /// The database failed.
    #[error("The database failed.")]
    Database(#[from] DbErr),
}

impl Error {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing(..) => StatusCode::NOT_FOUND,
            Self::AlreadyPaid(_) | Self::NotEnough(_) => StatusCode::CONFLICT,
            Self::NotATransfer => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Partner(_) => StatusCode::BAD_GATEWAY,
            Self::Database(DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Lock(_) | Self::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A problem as in RFC 9457: its status and its body. What clients are not told goes to the log.
    pub fn problem(&self) -> (StatusCode, String) {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = ?self, "request failed");
        }
        let problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        (status, problem.to_string())
    }
}
