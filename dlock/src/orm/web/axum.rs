//! Axum. By axum-core, which is for libraries: its versions change less often.

use axum_core::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::{PROBLEM_JSON, Problem, Status};
use crate::error::Error;

impl From<Status> for StatusCode {
    fn from(Status(code, _): Status) -> Self {
        Self::from_u16(code).expect("BUG: it is a status")
    }
}

/// A problem as in [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457), so that `?` works in handlers that return `Result<T, dlock::Error>` or `axum::response::Result<T>`.
///
/// 409 with `Retry-After` for [`Timeout`](Error::Timeout) and [`Deadlock`](Error::Deadlock); 503 for [`Lost`](Error::Lost), [`PoolClosed`](Error::PoolClosed) and
/// [`Database`](Error::Database); 400 for [`InvalidKey`](Error::InvalidKey); 500 for the rest. The key and the database's error go to the log, and only there:
/// by `tracing`, at `info` below 500, else at `error`.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = Problem::of(&self);
        problem.log(&self);
        let content_type = [(CONTENT_TYPE, PROBLEM_JSON)];
        let status = StatusCode::from(problem.status);
        let mut response = (status, content_type, problem.body()).into_response();
        if let Some(seconds) = problem.retry_after() {
            let seconds = HeaderValue::from_static(seconds);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}
