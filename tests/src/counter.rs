//! A number that is raised in the worst possible way: read, think, write.

mod file;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dlock::DLockExt;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Db;

static NEXT_WAY: AtomicUsize = AtomicUsize::new(0);

/// A table with one row; where an application has no connection, a file.
#[derive(Debug, Clone)]
pub struct Counter {
    table: String,
}

/// How the counter is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// Under the lock with this key, in two autocommitted statements, or in the file.
    By(i64),
    /// Under the lock with this key, in a transaction.
    InTransaction(i64),
    /// Under the lock with this key, each time in another way: pinned or not, as a guard or around a body.
    InAllWays(i64),
    /// Without any lock.
    Not,
}

impl Counter {
    /// The counter of this name.
    pub fn named(name: &str) -> Self {
        Self {
            table: format!("counter_{name}"),
        }
    }

    /// Its table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Makes it, at zero.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn create(&self, db: &impl Db) -> Result<(), DbErr> {
        let table = &self.table;
        let Some(db) = db.connection() else {
            return file::create(table);
        };
        db.execute_unprepared(&format!("CREATE TABLE {table} (n BIGINT NOT NULL)"))
            .await?;
        db.execute_unprepared(&format!("INSERT INTO {table} (n) VALUES (0)"))
            .await?;
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn remove(&self, db: &impl Db) -> Result<(), DbErr> {
        let Some(db) = db.connection() else {
            return file::remove(&self.table);
        };
        let drop = format!("DROP TABLE {}", self.table);
        db.execute_unprepared(&drop).await.map(|_done| ())
    }

    /// What it stands at, table or file.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn stands_at(&self, db: &impl Db) -> Result<i64, DbErr> {
        match db.connection() {
            Some(db) => self.read(db).await,
            None => file::read(&self.table),
        }
    }

    /// What its row says.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn read(&self, db: &impl ConnectionTrait) -> Result<i64, DbErr> {
        let select = format!("SELECT n FROM {}", self.table);
        let select = Statement::from_string(db.get_database_backend(), select);
        let row = db.query_one_raw(select).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound(self.table.clone()))?;
        row.try_get_by_index(0)
    }

    /// Sets its row.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn write(&self, db: &impl ConnectionTrait, n: i64) -> Result<(), DbErr> {
        let update = format!("UPDATE {} SET n = {n}", self.table);
        db.execute_unprepared(&update).await.map(|_done| ())
    }

    /// Reads its row, thinks for a millisecond, and writes one more.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn raise(&self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let n = self.read(db).await?;
        think().await;
        self.write(db, n + 1).await
    }

    /// Raises it so many times in each of so many tasks.
    ///
    /// # Errors
    ///
    /// What the database or dlock says.
    pub async fn raise_in_tasks(
        &self,
        db: &impl Db,
        guarded: Guarded,
        tasks: usize,
        rounds: usize,
    ) -> Result<(), DbErr> {
        let mut raising: JoinSet<Result<(), DbErr>> = JoinSet::new();
        for _ in 0..tasks {
            let (db, counter) = (db.clone(), self.clone());
            raising.spawn(async move {
                for _ in 0..rounds {
                    match db.connection() {
                        Some(db) => counter.raise_once(db, guarded).await?,
                        None => counter.raise_file_once(&db, guarded).await?,
                    }
                }
                Ok(())
            });
        }
        for raised in raising.join_all().await {
            raised?;
        }
        Ok(())
    }

    async fn raise_once(&self, db: &DatabaseConnection, guarded: Guarded) -> Result<(), DbErr> {
        match guarded {
            Guarded::By(key) => db.dlock(key).run(async |_lock| self.raise(db).await).await,
            Guarded::InTransaction(key) => {
                let lock = db.dlock(key);
                lock.transaction(async |txn| self.raise(txn).await).await
            }
            Guarded::InAllWays(key) => match NEXT_WAY.fetch_add(1, Ordering::Relaxed) % 4 {
                0 => db.dlock(key).run(async |_lock| self.raise(db).await).await,
                1 => {
                    let lock = db.dlock(key).pinned();
                    lock.run(async |guard| self.raise(guard).await).await
                }
                2 => {
                    let guard = db.dlock(key).pinned().await?;
                    self.raise(&guard).await?;
                    Ok(guard.release().await?)
                }
                _ => {
                    let guard = db.dlock(key).pinned().await?;
                    let txn = guard.begin().await?;
                    self.raise(&txn).await?;
                    txn.commit().await
                }
            },
            Guarded::Not => self.raise(db).await,
        }
    }

    async fn raise_file(&self) -> Result<(), DbErr> {
        let n = file::read(&self.table)?;
        think().await;
        file::write(&self.table, n + 1)
    }

    async fn raise_file_once(&self, db: &impl Db, guarded: Guarded) -> Result<(), DbErr> {
        match guarded {
            Guarded::By(key) => {
                let lock = db.dlock(key);
                lock.run(async |_lock| self.raise_file().await).await
            }
            Guarded::Not => self.raise_file().await,
            Guarded::InTransaction(_) | Guarded::InAllWays(_) => {
                let missing = format!("{guarded:?} needs a connection");
                Err(DbErr::Custom(missing))
            }
        }
    }
}

async fn think() {
    sleep(Duration::from_millis(1)).await;
}
