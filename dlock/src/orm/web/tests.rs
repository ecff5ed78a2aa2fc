//! What clients are told of each error, by each framework, and what they are not.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::{PROBLEM_JSON, Problem};
use crate::error::{Error, LossCause, Phase};
use crate::key::Key;

const KEY: &str = "mailbox/eve@example.com";
const SOURCE: &str = "postgres://eve:sesame@10.0.0.7 refused SELECT 1";

fn key() -> Key {
    KEY.into()
}

/// Each kind of error, and the status that it becomes.
fn all() -> Vec<(Error, u16)> {
    let source = DbErr::Conn(RuntimeErr::Internal(SOURCE.into()));
    let timeout = Error::Timeout {
        key: key(),
        waited: Duration::from_secs(5),
        held_by: None,
    };
    vec![
        (timeout, 409),
        (Error::Deadlock { key: key() }, 409),
        (Error::lost(&key(), LossCause::Session), 503),
        (Error::PoolClosed, 503),
        (Phase::Acquire.failed(source), 503),
        (
            Error::InvalidKey {
                key: KEY.into(),
                reason: "it is too long",
            },
            400,
        ),
        (
            Error::Unsupported {
                backend: "sqlite",
                feature: "xact",
                hint: "use transaction",
            },
            500,
        ),
        (Error::refused("a hot standby", "postgres", "ask eve"), 503),
        (Error::NoRuntime, 500),
        (
            Error::InvalidSetting {
                setting: "max_sessions(0)",
                reason: "it must be at least 1",
            },
            500,
        ),
    ]
}

/// Fails unless this is the answer that clients are to get.
fn check(
    error: &Error,
    expected: u16,
    status: u16,
    content_type: &str,
    retry_after: Option<&str>,
    body: &[u8],
) {
    assert_eq!(status, expected, "{error:?}");
    assert_eq!(content_type, PROBLEM_JSON, "{error:?}");
    let busy = matches!(error, Error::Timeout { .. } | Error::Deadlock { .. });
    assert_eq!(retry_after, busy.then_some("1"), "{error:?}");

    let text = std::str::from_utf8(body).unwrap();
    for secret in [KEY, "eve", "postgres", "SELECT", "sqlite", "max_sessions"] {
        assert!(!text.contains(secret), "{text}");
    }
    let problem: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(problem.as_object().unwrap().len(), 4, "{text}");
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["status"], expected);
    let title = match expected {
        400 => "Bad Request",
        409 => "Conflict",
        500 => "Internal Server Error",
        _ => "Service Unavailable",
    };
    assert_eq!(problem["title"], title);
    assert!(!problem["detail"].as_str().unwrap().is_empty());
}

#[cfg(feature = "axum")]
mod axum {
    use ::axum::body::to_bytes;
    use ::axum::response::{IntoResponse, Response};

    use super::*;

    async fn check_response(error: &Error, expected: u16, response: Response) {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap());
        let content_type = header("content-type").unwrap();
        let status = parts.status.as_u16();
        let retry_after = header("retry-after");
        check(error, expected, status, content_type, retry_after, &body);
    }

    #[tokio::test]
    async fn an_error_is_a_problem() {
        for (error, expected) in all() {
            check_response(&error, expected, error.clone().into_response()).await;
        }
    }

    #[tokio::test]
    async fn question_marks_work_in_handlers() {
        async fn plain(error: Error) -> Result<String, Error> {
            Err(error)?
        }
        async fn any(error: Error) -> ::axum::response::Result<String> {
            Err(error)?
        }
        for (error, expected) in all() {
            let plain = plain(error.clone()).await.into_response();
            check_response(&error, expected, plain).await;
            let any = any(error.clone()).await.into_response();
            check_response(&error, expected, any).await;
        }
    }
}

#[cfg(feature = "actix-web")]
mod actix {
    use actix_web::body::to_bytes;
    use actix_web::{HttpResponse, ResponseError};

    use super::*;

    async fn check_response(error: &Error, expected: u16, response: HttpResponse) {
        let (response, body) = response.into_parts();
        let body = to_bytes(body).await.unwrap();
        let headers = response.headers();
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
        let content_type = header("content-type").unwrap();
        let status = response.status().as_u16();
        let retry_after = header("retry-after");
        check(error, expected, status, content_type, retry_after, &body);
    }

    #[tokio::test]
    async fn an_error_is_a_problem() {
        for (error, expected) in all() {
            assert_eq!(error.status_code().as_u16(), expected);
            check_response(&error, expected, error.error_response()).await;
        }
    }

    #[tokio::test]
    async fn question_marks_work_in_handlers() {
        async fn any(error: Error) -> actix_web::Result<String> {
            Err(error)?
        }
        for (error, expected) in all() {
            let any = any(error.clone()).await.unwrap_err();
            check_response(&error, expected, any.error_response()).await;
        }
    }
}

#[test]
fn the_log_has_what_clients_are_not_told() {
    for (error, status) in all() {
        let told = Told::default();
        tracing::subscriber::with_default(told.clone(), || Problem::of(&error).log(&error));
        let lines = told.0.lock().unwrap();
        let [(level, line)] = lines.as_slice() else {
            panic!("one line: {lines:?}");
        };
        let client_error = status < 500;
        assert_eq!(
            *level,
            if client_error {
                Level::INFO
            } else {
                Level::ERROR
            }
        );
        assert!(line.contains(&format!("error={error}")), "{line}");
        let has_source = matches!(error, Error::Database { .. });
        assert_eq!(line.contains(SOURCE), has_source, "{line}");
    }
}

/// A subscriber that keeps each event's level and fields.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<(Level, String)>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let told = (*event.metadata().level(), line.0);
        self.0.lock().unwrap().push(told);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
