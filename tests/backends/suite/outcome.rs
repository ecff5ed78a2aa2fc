//! How a test fails: with the error and the line where `?` met it.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use dlock::Error as LockError;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

pub(crate) struct Failure {
    what: String,
    place: &'static Location<'static>,
}

impl Failure {
    #[track_caller]
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            place: Location::caller(),
        }
    }

    pub(crate) fn but(mut self, found: &str) -> Self {
        self.what += &format!(", but `{found}`");
        self
    }
}

/// What the database does not have is refused.
#[track_caller]
pub(crate) fn is_unsupported<T: fmt::Debug>(refused: &Result<T, LockError>) -> Outcome {
    match refused {
        Err(LockError::Unsupported { .. }) => Ok(()),
        other => Err(Failure::new(format!("it is not refused: {other:?}"))),
    }
}

impl<E: Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            what += &format!(": {error}");
            cause = error.source();
        }
        Self::new(what)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
