//! What clients are told when something was not done: a problem as in RFC 9457.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use dlock_example_invoices::Error;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct AppError(Error);

impl<E: Into<Error>> From<E> for AppError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl ResponseError for AppError {
    fn error_response(&self) -> HttpResponse {
        if let Error::Lock(error) = &self.0 {
            return error.error_response();
        }
        let (status, problem) = self.0.problem();
        // Actix Web has another version of the type.
        let status = StatusCode::from_u16(status.as_u16()).expect("it is a status");
        HttpResponse::build(status)
            .content_type("application/problem+json")
            .body(problem)
    }
}
