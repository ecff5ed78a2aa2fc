//! A batch as one statement, and what follows when that fails.

use sea_orm::DbErr;
use sea_orm::sqlx::{self, AssertSqlSafe, Row};

use super::errors::{OUT_OF_MEMORY, code, explained};
use super::session::PgSession;
use super::statements::{self, Identity, StatementKind};
use crate::backend::batch::{Answer, Answers, Batch, Request};
use crate::backend::session_error::SessionError;
use crate::backend::sqlx::open::session_error;

impl PgSession {
    /// `None`: another server session answered, and did nothing.
    pub(super) async fn ask(&mut self, batch: &Batch) -> Result<Option<Answers>, sqlx::Error> {
        match (&*batch.releases, &*batch.tries) {
            ([], [request]) => Ok(self.ask_one(false, request).await?.map(|answer| Answers {
                tries: vec![answer],
                ..Answers::default()
            })),
            ([request], []) => Ok(self.ask_one(true, request).await?.map(|answer| Answers {
                releases: vec![answer],
                ..Answers::default()
            })),
            // Apart from the session's task, so that one request alone needs less room.
            _ => Box::pin(self.ask_many(batch)).await,
        }
    }

    async fn ask_one(
        &mut self,
        release: bool,
        Request { key, mode }: &Request,
    ) -> Result<Option<Answer>, sqlx::Error> {
        let single = statements::single(StatementKind::of(release, *mode, key));
        let Identity { stamp, pid, .. } = self.identity.clone();
        let query = sqlx::query(AssertSqlSafe(single)).bind(statements::packed(key));
        let query = query.bind(stamp).bind(pid);
        let row = query.fetch_optional(self.connection().await?).await?;
        row.map(|row| row.try_get(0).map(bool::into)).transpose()
    }

    /// The whole batch as one statement.
    async fn ask_many(&mut self, batch: &Batch) -> Result<Option<Answers>, sqlx::Error> {
        let releases = batch.releases.iter().map(|request| (true, request));
        let tries = batch.tries.iter().map(|request| (false, request));
        let mut keys: [Vec<i64>; StatementKind::COUNT] = Default::default();
        for (release, request) in releases.chain(tries) {
            let arm = StatementKind::of(release, request.mode, &request.key).index();
            keys[arm].push(statements::packed(&request.key));
        }
        let asked = keys.each_ref().map(Vec::len);
        let statement = statements::batch(asked.map(|keys| keys > 0));
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for keys in keys.into_iter().filter(|keys| !keys.is_empty()) {
            query = query.bind(keys);
        }
        let Identity { stamp, pid, .. } = self.identity.clone();
        let query = query.bind(stamp).bind(pid);
        let row = query.fetch_optional(self.connection().await?).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let mut said: [std::vec::IntoIter<bool>; StatementKind::COUNT] = Default::default();
        let present = (0..StatementKind::COUNT).filter(|arm| asked[*arm] > 0);
        for (column, arm) in present.enumerate() {
            let answers: Vec<bool> = row.try_get(column)?;
            if answers.len() != asked[arm] {
                return Err(sqlx::Error::Protocol(format!(
                    "{} requests, {} answers",
                    asked[arm],
                    answers.len()
                )));
            }
            said[arm] = answers.into_iter();
        }
        let mut answer = |release, request: &Request| -> Answer {
            let arm = StatementKind::of(release, request.mode, &request.key).index();
            said[arm].next().expect("BUG: they were counted").into()
        };
        Ok(Some(Answers {
            releases: (batch.releases.iter())
                .map(|request| answer(true, request))
                .collect(),
            tries: (batch.tries.iter())
                .map(|request| answer(false, request))
                .collect(),
        }))
    }

    /// After a statement that failed half-way the server alone knows what it did, and with a full
    /// lock table it cannot even be asked. So everything in it is given back, which needs no room
    /// and is `false` for what was not held; then each lock is tried for on its own.
    pub(super) async fn redo(&mut self, batch: &Batch) -> Result<Answers, SessionError> {
        let all = batch.releases.iter().chain(&batch.tries);
        self.give_back(all.cloned().collect()).await?;
        let mut answers = Answers {
            releases: vec![Answer::Yes; batch.releases.len()],
            tries: Vec::new(),
        };
        let mut full = None;
        for request in &batch.tries {
            if let Some(full) = &full {
                answers.tries.push(Answer::Failed(DbErr::clone(full)));
                continue;
            }
            let one = Batch::of_one_try(request);
            let answer = match self.ask(&one).await {
                Ok(Some(mut answers)) => answers.tries.remove(0),
                Ok(None) => return Err(self.misdirected().await),
                Err(error) if error.as_database_error().is_none() => {
                    return Err(session_error(error));
                }
                Err(error) => {
                    self.give_back(one.tries).await?;
                    let is_full = code(&error) == Some(OUT_OF_MEMORY);
                    let error = explained(error);
                    full = is_full.then(|| error.clone());
                    Answer::Failed(error)
                }
            };
            answers.tries.push(answer);
        }
        Ok(answers)
    }

    async fn give_back(&mut self, releases: Vec<Request>) -> Result<(), SessionError> {
        let batch = Batch::of_releases(releases);
        let released = self.ask(&batch).await.map_err(session_error)?;
        self.answered(released.map(drop)).await
    }
}
