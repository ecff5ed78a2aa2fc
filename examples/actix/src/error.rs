//! What clients are told when something was not done: a problem as in RFC 9457.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
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

impl ResponseError for AppError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invoices(error) => status(error),
            Self::Lock(error) => error.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Invoices(error) => problem(error),
            Self::Lock(error) => error.error_response(),
        }
    }
}

fn status(error: &invoices::Error) -> StatusCode {
    use invoices::Error;

    match error {
        Error::Missing(..) => StatusCode::NOT_FOUND,
        Error::AlreadyPaid(_) | Error::NotEnough(_) => StatusCode::CONFLICT,
        Error::NotATransfer => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Partner(_) => StatusCode::BAD_GATEWAY,
        Error::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn problem(error: &invoices::Error) -> HttpResponse {
    let status = status(error);
    if status.is_server_error() {
        tracing::error!(?error, "request failed");
    }
    let problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": error.to_string(),
    });
    HttpResponse::build(status)
        .content_type("application/problem+json")
        .body(problem.to_string())
}
