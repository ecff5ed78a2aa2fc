//! A batch as one statement, and what follows when that fails.

use sea_orm::sqlx::mysql::MySqlRow;
use sea_orm::sqlx::{self, AssertSqlSafe, Row};
use sea_orm::{DbErr, RuntimeErr};

use super::session::{MySqlSession, name};
use super::statements::{self, GRANTED, PreparedTry, Shape, Tried};
use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::session_error::SessionError;
use crate::backend::sqlx::open::{db_err, session_error};
use crate::key::PhysicalKey;

/// The answers to a batch of the session itself; `None` where the server failed without saying so.
pub(super) struct BatchReply {
    releases: Vec<bool>,
    tries: Vec<Option<Tried>>,
}

impl BatchReply {
    fn read(row: &MySqlRow, batch: &Batch, shape: Shape) -> Result<Self, sqlx::Error> {
        let Batch { releases, tries } = batch;
        let column = |index| row.try_get::<Option<i64>, _>(index);
        let released = (0..releases.len()).map(|index| Ok(column(index)? == Some(GRANTED)));
        let mut said = Self {
            releases: released.collect::<Result<_, sqlx::Error>>()?,
            tries: Vec::with_capacity(tries.len()),
        };
        for place in 0..shape.tries {
            let answer = column(shape.releases + place)?.map(Tried::of);
            match said.tries.get_mut(tries.len() - 1) {
                None => said.tries.push(answer),
                // The last one is tried again in the places that are left.
                Some(last) => *last = repeated(*last, answer),
            }
        }
        Ok(said)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.tries.iter().all(Option::is_some)
    }

    pub(super) fn answers(self) -> Answers {
        let granted = |tried| Answer::from(tried == Some(Tried::Granted));
        Answers {
            releases: self.releases.into_iter().map(Answer::from).collect(),
            tries: self.tries.into_iter().map(granted).collect(),
        }
    }
}

/// Of two tries for the same lock. It may have become free in between; where the server failed to
/// answer one of them, nothing is known.
fn repeated(before: Option<Tried>, answer: Option<Tried>) -> Option<Tried> {
    Some(before?.max(answer?))
}

impl MySqlSession {
    /// The whole batch as one prepared statement. `None`: another server session answered, and did
    /// nothing.
    pub(super) async fn ask(&mut self, batch: &Batch) -> Result<Option<BatchReply>, sqlx::Error> {
        let Batch { releases, tries } = batch;
        let shape = Shape::of(releases.len(), tries.len());
        let tried = PreparedTry::of(self.server, shape, tries.len());
        let is_held = |request: &Request| self.held.contains(name(&request.key));
        debug_assert!(
            tried == PreparedTry::UnlessOurs || !tries.iter().any(is_held),
            "BUG: MariaDB would grant what is held a second time"
        );
        let sql = statements::prepared(shape, tried, self.identity.read_only);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        let parts = [
            (releases, shape.releases, 1),
            (tries, shape.tries, tried.names()),
        ];
        for (requests, places, names) in parts {
            let last = requests.last().into_iter().cycle();
            for request in requests.iter().chain(last).take(places) {
                for _ in 0..names {
                    query = query.bind(&**name(&request.key));
                }
            }
        }
        let query = query.bind(self.identity.stamp);
        let row = query.fetch_optional(self.connection()).await?;
        row.map(|row| BatchReply::read(&row, batch, shape))
            .transpose()
    }

    /// The same without preparing it.
    pub(super) async fn ask_in_words(
        &mut self,
        batch: &Batch,
    ) -> Result<Option<BatchReply>, sqlx::Error> {
        let row = self.optional_row(self.in_words(batch)).await?;
        let shape = Shape::exactly(batch.releases.len(), batch.tries.len());
        row.map(|row| BatchReply::read(&row, batch, shape))
            .transpose()
    }

    fn in_words(&self, batch: &Batch) -> String {
        statements::in_words(&self.identity, names(&batch.releases), names(&batch.tries))
    }

    /// After a statement that failed half-way the server alone knows what it did. What it was to
    /// release is released again, which does no harm where that is done; then each lock is tried
    /// for on its own.
    pub(super) async fn redo(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        if !batch.releases.is_empty() {
            self.give_back(&batch.releases).await?;
        }
        let mut answers = Answers {
            releases: vec![Answer::Yes; batch.releases.len()],
            tries: Vec::new(),
        };
        for request in &batch.tries {
            let answer = self.try_again(request).await?;
            // Before the next, which may be another spelling of it.
            self.note(request, &answer);
            answers.tries.push(answer);
        }
        Ok(answers)
    }

    async fn try_again(&mut self, request: &Request) -> Result<Answer, SessionError> {
        let sql = self.in_words(&Batch::of_one_try(request));
        let answer = match self.optional_row_at_last(sql).await {
            Ok(row) => {
                let row = self.answered(row).await?;
                row.try_get::<Option<i64>, _>(0)
            }
            Err(error) => Err(error),
        };
        let error = match answer {
            Ok(None) => no_answer(&request.key),
            Ok(Some(answer)) => match Tried::of(answer) {
                Tried::Granted => return Ok(Answer::Yes),
                Tried::Busy => return Ok(Answer::No),
                // By a statement that failed.
                Tried::Ours => {
                    self.has_no_other_name(&request.key)?;
                    return Ok(Answer::Yes);
                }
            },
            Err(error) if error.as_database_error().is_none() => return Err(session_error(error)),
            Err(error) => db_err(error),
        };
        self.has_no_other_name(&request.key)?;
        self.give_back(std::slice::from_ref(request)).await?;
        Ok(Answer::Failed(error))
    }

    /// What a guard holds by another spelling must not be granted to another caller or given back.
    /// Only the server can tell, and that too late.
    fn has_no_other_name(&self, key: &PhysicalKey) -> Result<(), SessionError> {
        let name = name(key);
        let mut held = self.held.iter();
        match held.find(|held| self.server.may_fold(name, held)) {
            None => Ok(()),
            Some(held) => Err(SessionError::Ended(DbErr::Custom(format!(
                "a statement about lock {name} failed while {held} was held"
            )))),
        }
    }

    pub(super) async fn give_back(&mut self, releases: &[Request]) -> Result<(), SessionError> {
        let sql = self.in_words(&Batch::of_releases(releases.to_vec()));
        let released = self
            .optional_row_at_last(sql)
            .await
            .map_err(session_error)?;
        self.answered(released).await.map(drop)
    }
}

fn names(requests: &[Request]) -> impl Iterator<Item = &str> {
    requests.iter().map(|request| &**name(&request.key))
}

/// The server's word for "an error occurred".
/// <https://mariadb.com/docs/server/reference/sql-functions/secondary-functions/miscellaneous-functions/get_lock>
fn no_answer(key: &PhysicalKey) -> DbErr {
    let message =
        format!("GET_LOCK of {key} answered NULL: the server is out of memory or stopped it");
    DbErr::Query(RuntimeErr::Internal(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_one_of_two_tries_stays() {
        use Tried::{Busy, Granted, Ours};
        assert_eq!(repeated(Some(Busy), Some(Granted)), Some(Granted));
        assert_eq!(repeated(Some(Granted), Some(Ours)), Some(Granted));
        assert_eq!(repeated(Some(Granted), None), None);
        assert_eq!(repeated(None, Some(Granted)), None);
    }
}
