//! [`Error`] as the answer of a web service: what clients are told, in one table, and what goes to the log instead. One file for each framework.
//!
//! Keys carry e-mail addresses and names of tenants, and a database's error its statement and its address: none of that is in an answer.

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
#[cfg(test)]
mod tests;

use std::error::Error as _;

use crate::error::Error;

/// The media type of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
const PROBLEM_JSON: &str = "application/problem+json";

/// Seconds, when somebody else has the lock: the header `Retry-After`.
const RETRY_AFTER: &str = "1";

/// An answer.
#[derive(Debug, Clone, Copy)]
struct Problem {
    status: Status,
    detail: &'static str,
}

/// A code and its phrase, as in [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Status(u16, &'static str);

impl Status {
    const BAD_REQUEST: Self = Self(400, "Bad Request");
    const CONFLICT: Self = Self(409, "Conflict");
    const INTERNAL_SERVER_ERROR: Self = Self(500, "Internal Server Error");
    const SERVICE_UNAVAILABLE: Self = Self(503, "Service Unavailable");
}

impl Problem {
    fn of(error: &Error) -> Self {
        let (status, detail) = match error {
            Error::Timeout { .. } | Error::Deadlock { .. } => (
                Status::CONFLICT,
                "This request did not get its turn in time. Try again in a moment.",
            ),
            Error::Lost { .. } => (
                Status::SERVICE_UNAVAILABLE,
                "The request was interrupted. Check what was done before you try again.",
            ),
            Error::PoolClosed => (
                Status::SERVICE_UNAVAILABLE,
                "The service is shutting down. Try again in a moment.",
            ),
            Error::Database { .. } => (
                Status::SERVICE_UNAVAILABLE,
                "The database did not do what it was asked to. Check what was done before you try again.",
            ),
            Error::Refused { .. } => (
                Status::SERVICE_UNAVAILABLE,
                "The service cannot reach the database that it needs. Try again later.",
            ),
            Error::InvalidKey { .. } => (
                Status::BAD_REQUEST,
                "The request names something that cannot be locked. Change the name.",
            ),
            Error::Unsupported { .. } | Error::NoRuntime | Error::InvalidSetting { .. } => (
                Status::INTERNAL_SERVER_ERROR,
                "The service is not set up for this request. Trying again will not help.",
            ),
        };
        Self { status, detail }
    }

    fn retry_after(self) -> Option<&'static str> {
        (self.status == Status::CONFLICT).then_some(RETRY_AFTER)
    }

    fn body(self) -> String {
        let Status(code, title) = self.status;
        let detail = self.detail;
        format!(r#"{{"type":"about:blank","title":"{title}","status":{code},"detail":"{detail}"}}"#)
    }

    /// What the client is not told.
    fn log(self, error: &Error) {
        let Status(status, _) = self.status;
        // Formatted here: not every subscriber follows the sources of an error.
        let source = error.source().map(tracing::field::display);
        if status < 500 {
            tracing::info!(status, %error, source, "dlock: request answered with a problem");
        } else {
            tracing::error!(status, %error, source, "dlock: request answered with a problem");
        }
    }
}
