//! The server's view of its locks, as far as it has one.

use std::collections::HashMap;

use sea_orm::sqlx::mysql::MySqlRow;
use sea_orm::sqlx::{self, AssertSqlSafe, Row};

use super::session::{MySqlSession, name};
use super::statements;
use crate::backend::batch::MAX_BATCH;
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::server_lock::{Holder, ServerLock};

impl MySqlSession {
    /// Where the server lists its locks.
    pub(super) async fn listed(
        &mut self,
        known: &[PhysicalKey],
    ) -> Result<Vec<ServerLock>, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(statements::locks()));
        let rows = query.fetch_all(self.connection()).await?;
        let mut shown: HashMap<String, &PhysicalKey> = HashMap::new();
        for key in known {
            let place = shown.entry(self.server.shown(name(key))).or_insert(key);
            if self.held.contains(name(key)) {
                *place = key;
            }
        }
        let locks = rows.iter().map(|row| lock(row, &shown));
        locks.filter_map(Result::transpose).collect()
    }

    /// Where it does not: it tells who holds a lock that it is asked about.
    pub(super) async fn asked_about(
        &mut self,
        known: &[PhysicalKey],
    ) -> Result<Vec<ServerLock>, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(statements::sessions()));
        let rows = query.fetch_all(self.connection()).await?;
        let session = |row: &MySqlRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let sessions = rows.iter().map(session);
        let accounts: HashMap<Option<u64>, Option<String>> =
            sessions.collect::<Result<_, sqlx::Error>>()?;
        let mut locks = Vec::new();
        for keys in known.chunks(MAX_BATCH) {
            let names = keys.iter().map(|key| &**name(key));
            let row = self.row_at_last(statements::holders(names)).await?;
            for (index, key) in keys.iter().enumerate() {
                let session = row.try_get::<Option<u64>, _>(index)?;
                if session.is_some() {
                    let account = accounts.get(&session).cloned().flatten();
                    let holder = holder(session, account.unwrap_or_default())?;
                    locks.push(ServerLock::held(key.clone(), Mode::Exclusive, holder));
                }
            }
        }
        Ok(locks)
    }
}

/// A lock that is known by the name that is shown is called as it is here. `None` if a column is
/// NULL that identifies the lock.
fn lock(
    row: &MySqlRow,
    shown: &HashMap<String, &PhysicalKey>,
) -> Result<Option<ServerLock>, sqlx::Error> {
    let (name, granted): (Option<String>, Option<bool>) = (row.try_get(0)?, row.try_get(1)?);
    let (Some(name), Some(granted)) = (name, granted) else {
        return Ok(None);
    };
    let known = shown.get(&name).copied().cloned();
    let key = known.unwrap_or_else(|| PhysicalKey::Name(name.into()));
    let (account, mark): (Option<String>, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
    let account = account.unwrap_or_default();
    let application = match mark {
        Some(mark) => format!("{account} dlock {mark}"),
        None => account,
    };
    let holder = holder(row.try_get(2)?, application)?;
    Ok(Some(ServerLock {
        granted,
        ..ServerLock::held(key, Mode::Exclusive, holder)
    }))
}

/// A thread of the server itself has no number.
fn holder(session: Option<u64>, application: String) -> Result<Holder, sqlx::Error> {
    let session =
        i64::try_from(session.unwrap_or(0)).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Holder {
        session,
        application,
    })
}
