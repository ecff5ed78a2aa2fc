//! What clients are told when something was not done: a problem as in RFC 9457.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dlock_example_invoices::Error;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct AppError(Error);

impl<E: Into<Error>> From<E> for AppError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        if let Error::Lock(error) = self.0 {
            return error.into_response();
        }
        let (status, problem) = self.0.problem();
        let content_type = [(CONTENT_TYPE, "application/problem+json")];
        (status, content_type, problem).into_response()
    }
}
