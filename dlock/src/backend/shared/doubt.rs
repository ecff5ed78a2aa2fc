//! A session whose locks are not known any more: the request in flight gets the error, further
//! requests are refused, and the session ends.

use sea_orm::{DbErr, RuntimeErr};

use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::session_error::SessionError;

/// Why the locks of a session are not known, if they are not.
#[derive(Default)]
pub(crate) struct Doubt(Option<String>);

impl Doubt {
    /// A session in doubt is asked nothing more.
    pub(crate) fn check(&self) -> Result<(), SessionError> {
        match &self.0 {
            Some(why) => Err(SessionError::ended(why)),
            None => Ok(()),
        }
    }

    /// The answer to a request for a lock, which may be held or not.
    pub(crate) fn answer(&mut self, error: DbErr) -> Answer {
        self.0 = Some(error.to_string());
        Answer::Failed(error)
    }

    /// The answers to a batch that the server has refused: what of it was done is not known.
    pub(crate) fn answers(&mut self, batch: &Batch, error: &DbErr) -> Answers {
        let mut answer = |requests: &[Request]| {
            let answers = requests.iter().map(|_| self.answer(error.clone()));
            answers.collect()
        };
        Answers {
            releases: answer(&batch.releases),
            tries: answer(&batch.tries),
        }
    }

    /// For [`Session::gone`](super::Session::gone), where that sees nothing else.
    pub(crate) async fn raised(&self) -> SessionError {
        match self.check() {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    }
}

/// What the server, or its word, said to one request.
pub(crate) fn refused(why: String) -> DbErr {
    DbErr::Query(RuntimeErr::Internal(why))
}
