//! A number in the database that is raised in the worst possible way: read, think, write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dlock::DLockExt;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, TransactionTrait};
use tokio::task::JoinSet;
use tokio::time::sleep;

static NEXT_WAY: AtomicUsize = AtomicUsize::new(0);

/// A row of its own.
#[derive(Debug, Clone)]
pub struct Counter {
    table: String,
}

/// How the counter is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// Under the lock with this key, in two autocommitted statements.
    By(i64),
    /// Under the lock with this key, in a transaction.
    InTransaction(i64),
    /// Under the lock with this key, each time in another way: pinned or not, as a guard or around a body.
    InAllWays(i64),
    /// Without any lock.
    Not,
}

impl Counter {
    /// The counter of this name: a table with one row.
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
    pub async fn create(&self, db: &DatabaseConnection) -> Result<(), DbErr> {
        let table = &self.table;
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
    pub async fn remove(&self, db: &DatabaseConnection) -> Result<(), DbErr> {
        let drop = format!("DROP TABLE {}", self.table);
        db.execute_unprepared(&drop).await.map(|_done| ())
    }

    /// What it stands at.
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

    /// Sets it.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn write(&self, db: &impl ConnectionTrait, n: i64) -> Result<(), DbErr> {
        let update = format!("UPDATE {} SET n = {n}", self.table);
        db.execute_unprepared(&update).await.map(|_done| ())
    }

    /// Reads, thinks for a millisecond, and writes one more.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn raise(&self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let n = self.read(db).await?;
        sleep(Duration::from_millis(1)).await;
        self.write(db, n + 1).await
    }

    /// Raises it so many times in each of so many tasks.
    ///
    /// # Errors
    ///
    /// What the database or dlock says.
    pub async fn raise_in_tasks(
        &self,
        db: &DatabaseConnection,
        guarded: Guarded,
        tasks: usize,
        rounds: usize,
    ) -> Result<(), DbErr> {
        let mut raising: JoinSet<Result<(), DbErr>> = JoinSet::new();
        for _ in 0..tasks {
            let (db, counter) = (db.clone(), self.clone());
            raising.spawn(async move {
                for _ in 0..rounds {
                    counter.raise_once(&db, guarded).await?;
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
}
