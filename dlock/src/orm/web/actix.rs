//! Actix Web.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};

use super::{PROBLEM_JSON, Problem, Status};
use crate::error::Error;

impl From<Status> for StatusCode {
    fn from(Status(code, _): Status) -> Self {
        Self::from_u16(code).expect("BUG: it is a status")
    }
}

/// A problem as in [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457), so that `?` works in handlers that return `Result<T, dlock::Error>` or `actix_web::Result<T>`.
///
/// 409 with `Retry-After` for [`Timeout`](Error::Timeout) and [`Deadlock`](Error::Deadlock); 503 for [`Lost`](Error::Lost), [`PoolClosed`](Error::PoolClosed) and
/// [`Database`](Error::Database); 400 for [`InvalidKey`](Error::InvalidKey); 500 for the rest. The key and the database's error go to the log, and only there:
/// by `tracing`, at `info` below 500, else at `error`. Actix Web's `Logger` middleware
/// writes the `Debug` form of every error, key included, at `debug`.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        Problem::of(self).status.into()
    }

    fn error_response(&self) -> HttpResponse {
        let problem = Problem::of(self);
        problem.log(self);
        let mut response = HttpResponse::build(problem.status.into());
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        if let Some(seconds) = problem.retry_after() {
            response.insert_header((RETRY_AFTER, seconds));
        }
        response.body(problem.body())
    }
}
