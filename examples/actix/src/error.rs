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
    fn status_code(&self) -> StatusCode {
        match &self.0 {
            Error::Lock(error) => error.status_code(),
            // Actix Web has another version of the type.
            error => StatusCode::from_u16(error.status().as_u16()).expect("it is a status"),
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Error::Lock(error) = &self.0 {
            return error.error_response();
        }
        let (_status, problem) = self.0.problem();
        HttpResponse::build(self.status_code())
            .content_type("application/problem+json")
            .body(problem)
    }
}
