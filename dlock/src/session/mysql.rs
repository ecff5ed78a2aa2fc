//! A MySQL or MariaDB session by sqlx: one connection, taken out of its pool. Its end shows only when it is asked for, so it is, often.

mod connect;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, MySqlConnection, Row};
use sea_orm::{DbErr, RuntimeErr};
use tokio::time::{sleep, timeout};

use super::sqlx::open::db;
use super::{Answer, Answers, Batch, Request, Session};
use crate::dialect::MAX_BATCH;
use crate::dialect::mysql::{self as dialect, MySql, Shape};
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::{Holder, ServerLock};

/// A lock that is gone is noticed within a second.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What ended a wait early may end the next one as well.
const PAUSE: Duration = Duration::from_millis(10);

/// A circle of sessions that want each other's locks, seen although nobody waits. MariaDB has the number of its tables' deadlocks for it.
/// <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>
const DEADLOCKS: [u16; 2] = [3058, 1213];

/// An operator, or a limit of his, has ended the statement.
const INTERRUPTED: [u16; 2] = [1317, 3024];

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

fn has_number(error: &sqlx::Error, numbers: &[u16]) -> bool {
    number(error).is_some_and(|number| numbers.contains(&number))
}

/// One connection, for the whole of its life.
pub(crate) struct MySqlSession {
    connection: MySqlConnection,
    server: MySql,
    /// The server's number for it.
    id: u64,
    /// What it held before the statement that runs.
    held: HashSet<Arc<str>>,
}

impl MySqlSession {
    /// One row of a statement without parameters.
    async fn row(&mut self, sql: String) -> Result<MySqlRow, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        query.fetch_one(&mut self.connection).await
    }

    /// The server's number for this session, and whether the server is read-only.
    async fn sign_of_life(&mut self) -> Result<(u64, bool), sqlx::Error> {
        let row = self.row(dialect::ping()).await?;
        Ok((row.try_get(0)?, dialect::is_on(row.try_get(1)?)))
    }

    /// The whole batch as one statement. The answers are `None` where the server failed without saying so.
    async fn ask(&mut self, batch: &Batch) -> Result<(Vec<bool>, Vec<Option<bool>>), sqlx::Error> {
        let Batch { releases, tries } = batch;
        let shape = Shape::of(releases.len(), tries.len());
        let mut query = sqlx::query(AssertSqlSafe(shape.statement()));
        let parts = [
            (releases, shape.releases, dialect::NAMES_PER_RELEASE),
            (tries, shape.tries, dialect::NAMES_PER_TRY),
        ];
        for (requests, places, names) in parts {
            let last = requests.last().into_iter().cycle();
            for request in requests.iter().chain(last).take(places) {
                for _ in 0..names {
                    query = query.bind(&**name(&request.key));
                }
            }
        }
        let row = query.fetch_one(&mut self.connection).await?;
        let column = |index| row.try_get::<Option<i64>, _>(index);
        let released = (0..releases.len()).map(|index| Ok(column(index)? == Some(1)));
        let released = released.collect::<Result<_, sqlx::Error>>()?;
        let mut tried = Vec::with_capacity(tries.len());
        for place in 0..shape.tries {
            let answer = column(shape.releases + place)?.map(|answer| answer == dialect::GRANTED);
            match tried.get_mut(tries.len() - 1) {
                None => tried.push(answer),
                // The last one is tried again in the places that are left; it may have become free in between.
                Some(last) => *last = Option::max(*last, answer),
            }
        }
        Ok((released, tried))
    }

    /// After a statement that failed half-way the server alone knows what it did. So everything in it is given back, which does no harm where nothing was held;
    /// then each lock is tried for on its own. Only what a guard holds by another spelling must not be given back, and nobody can tell whether it would be.
    async fn redo(&mut self, batch: &Batch) -> Result<Answers, DbErr> {
        for request in &batch.tries {
            let name = name(&request.key);
            if let Some(held) = self
                .held
                .iter()
                .find(|held| self.server.may_fold(name, held))
            {
                let doubt = format!("a statement about {name} failed while {held} was held");
                return Err(DbErr::Custom(doubt));
            }
        }
        let all = batch.releases.iter().chain(&batch.tries);
        for all in all.cloned().collect::<Vec<_>>().chunks(MAX_BATCH) {
            self.give_back(all.to_vec()).await?;
        }
        let mut answers = Answers {
            releases: vec![Answer::Yes; batch.releases.len()],
            tries: Vec::new(),
        };
        for request in &batch.tries {
            let one = Batch::of_one_try(request);
            let answer = match self.ask(&one).await {
                Ok((_, tried)) if let [Some(granted)] = *tried => granted.into(),
                Ok(_) => Answer::Failed(no_answer(&request.key)),
                Err(error) if error.as_database_error().is_none() => return Err(db(error)),
                Err(error) if has_number(&error, &DEADLOCKS) => Answer::No,
                Err(error) => Answer::Failed(db(error)),
            };
            if matches!(answer, Answer::Failed(_)) {
                self.give_back(one.tries).await?;
            }
            answers.tries.push(answer);
        }
        Ok(answers)
    }

    fn note(&mut self, request: &Request, answer: &Answer) {
        if let Answer::Yes = answer {
            self.held.insert(Arc::clone(name(&request.key)));
        }
    }

    async fn give_back(&mut self, releases: Vec<Request>) -> Result<(), DbErr> {
        let batch = Batch::of_releases(releases);
        self.ask(&batch).await.map(drop).map_err(db)
    }

    /// Where the server lists its locks.
    async fn listed(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(dialect::locks()));
        let rows = query.fetch_all(&mut self.connection).await?;
        let known = match self.server {
            MySql::MySql => known,
            MySql::MariaDb => &[],
        };
        let folded = |key: &PhysicalKey| (key.to_string().to_lowercase(), key.clone());
        let known = known.iter().map(folded).collect();
        rows.iter().map(|row| lock(row, &known)).collect()
    }

    /// Where it does not: it tells who holds a lock that it is asked about.
    async fn asked_about(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(dialect::sessions()));
        let rows = query.fetch_all(&mut self.connection).await?;
        let session = |row: &MySqlRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let sessions = rows.iter().map(session);
        let accounts: HashMap<u64, String> = sessions.collect::<Result<_, sqlx::Error>>()?;
        let mut locks = Vec::new();
        for keys in known.chunks(MAX_BATCH) {
            let query = sqlx::query(AssertSqlSafe(dialect::holders(keys.len())));
            let query = keys.iter().fold(query.persistent(false), |query, key| {
                query.bind(&**name(key))
            });
            let row = query.fetch_one(&mut self.connection).await?;
            for (index, key) in keys.iter().enumerate() {
                if let Some(session) = row.try_get::<Option<u64>, _>(index)? {
                    let account = accounts.get(&session).cloned();
                    let holder = holder(session, account.unwrap_or_default())?;
                    locks.push(ServerLock::held(key.clone(), Mode::Exclusive, holder));
                }
            }
        }
        Ok(locks)
    }
}

fn name(key: &PhysicalKey) -> &Arc<str> {
    match key {
        PhysicalKey::Name(name) => name,
        PhysicalKey::Int(_) | PhysicalKey::Pair(..) => {
            unreachable!("BUG: MySQL knows locks by name")
        }
    }
}

/// The server's word for "an error occurred". <https://mariadb.com/docs/server/reference/sql-functions/secondary-functions/miscellaneous-functions/get_lock>
fn no_answer(key: &PhysicalKey) -> DbErr {
    let message =
        format!("GET_LOCK of {key} answered NULL: the server is out of memory or stopped it");
    DbErr::Query(RuntimeErr::Internal(message))
}

#[async_trait]
impl Session for MySqlSession {
    fn wait_unit(&self) -> Option<Duration> {
        Some(self.server.wait_unit())
    }

    fn heartbeat(&self) -> Option<Duration> {
        Some(HEARTBEAT)
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, DbErr> {
        for request in &batch.releases {
            self.held.remove(name(&request.key));
        }
        let answers = match self.ask(batch).await {
            Ok((released, tried)) if tried.iter().all(Option::is_some) => Answers {
                releases: released.into_iter().map(Answer::from).collect(),
                tries: tried.into_iter().flatten().map(Answer::from).collect(),
            },
            Err(error) if error.as_database_error().is_none() => return Err(db(error)),
            Ok(_) | Err(_) => self.redo(batch).await?,
        };
        for (request, answer) in batch.tries.iter().zip(&answers.tries) {
            self.note(request, answer);
        }
        Ok(answers)
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<Answer, DbErr> {
        let query = sqlx::query(AssertSqlSafe(dialect::wait())).bind(&**name(&request.key));
        let query = match self.server {
            MySql::MySql => query.bind(slice.as_secs()),
            MySql::MariaDb => query.bind(slice.as_secs_f64()),
        };
        let waited = query.fetch_one(&mut self.connection).await;
        let answer = match waited.and_then(|row| row.try_get::<Option<i64>, _>(0)) {
            Ok(Some(answer)) => {
                let answer = Answer::from(answer == dialect::GRANTED);
                self.note(request, &answer);
                return Ok(answer);
            }
            Err(error) if error.as_database_error().is_none() => return Err(db(error)),
            Ok(None) => Answer::No,
            Err(error) if has_number(&error, &INTERRUPTED) => Answer::No,
            Err(error) => Answer::Failed(db(error)),
        };
        // A wait that was not granted holds nothing, whatever the server did.
        self.row(dialect::release_all()).await.map_err(db)?;
        sleep(PAUSE).await;
        Ok(answer)
    }

    async fn ping(&mut self) -> Result<(), DbErr> {
        let ended = |why| Err(DbErr::Conn(RuntimeErr::Internal(why)));
        match self.sign_of_life().await.map_err(db)? {
            (id, _) if id != self.id => ended(format!(
                "another server session answers: {id} in the place of {}",
                self.id
            )),
            (_, true) => ended(
                "the server has become read-only, like a replica: its locks exclude nobody on the primary"
                    .to_owned(),
            ),
            (_, false) => Ok(()),
        }
    }

    async fn locks(&mut self, known: &[PhysicalKey]) -> Result<Vec<ServerLock>, DbErr> {
        match self.listed(known).await {
            Ok(locks) if !locks.is_empty() => Ok(locks),
            Err(error) if error.as_database_error().is_none() => Err(db(error)),
            // There is none, or the server does not watch its locks, or does not tell us.
            Ok(_) | Err(_) => self.asked_about(known).await.map_err(db),
        }
    }

    async fn gone(&mut self) -> DbErr {
        std::future::pending().await
    }

    async fn close(self: Box<Self>) {
        drop(timeout(Duration::from_secs(1), self.connection.close()).await);
    }
}

/// MySQL lists a name in the form in which it compares; one that is `known` is called as it is here.
fn lock(row: &MySqlRow, known: &HashMap<String, PhysicalKey>) -> Result<ServerLock, sqlx::Error> {
    let name: String = row.try_get(0)?;
    let known = known.get(&name).cloned();
    let key = known.unwrap_or_else(|| PhysicalKey::Name(name.into()));
    let (account, mark): (String, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
    let application = match mark {
        Some(mark) => format!("{account} dlock {mark}"),
        None => account,
    };
    let holder = holder(row.try_get(2)?, application)?;
    Ok(ServerLock {
        granted: row.try_get(1)?,
        ..ServerLock::held(key, Mode::Exclusive, holder)
    })
}

fn holder(session: u64, application: String) -> Result<Holder, sqlx::Error> {
    let session = i64::try_from(session).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Holder {
        session,
        application,
    })
}
