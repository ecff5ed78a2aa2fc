//! What clients are told when something was not done: a problem as in RFC 9457.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dlock_example_invoices as invoices;
use sea_orm::DbErr;
use serde_json::json;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// What was asked for cannot be done.
    #[error(transparent)]
    Invoices(#[from] invoices::Error),
    /// The lock was not got, or lost.
    #[error(transparent)]
    Lock(#[from] dlock::Error),
}

impl From<DbErr> for AppError {
    fn from(error: DbErr) -> Self {
        invoices::Error::from(error).into()
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Invoices(error) => problem(&error),
            Self::Lock(error) => error.into_response(),
        }
    }
}

fn problem(error: &invoices::Error) -> Response {
    use invoices::Error;

    let status = match error {
        Error::Missing(..) => StatusCode::NOT_FOUND,
        Error::AlreadyPaid(_) | Error::NotEnough(_) => StatusCode::CONFLICT,
        Error::NotATransfer => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Partner(_) => StatusCode::BAD_GATEWAY,
        Error::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status.is_server_error() {
        tracing::error!(?error, "request failed");
    }
    let problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": error.to_string(),
    });
    let content_type = [(CONTENT_TYPE, "application/problem+json")];
    (status, content_type, problem.to_string()).into_response()
}
